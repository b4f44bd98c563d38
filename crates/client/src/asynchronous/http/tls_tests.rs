//! TLS of the asynchronous driver: an untrusted server receives no data (SEC-03).
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::tests::{asked, config, direct, elsewhere, here, outcome};
use super::*;
use crate::trust::TrustFlaw;
use mcp_auth_machine::Config;

/// A self-signed certificate for `localhost`, valid until 2120.
const CERTIFICATE: &str = "\
    MIIBXjCCAQSgAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwIBcNMjAwMTAxMDAw\
    MDAwWhgPMjEyMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMMCWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49\
    AwEHA0IABK0A0uQUA3zXP29ztm6CMg06hz5JZauwRC3Dsh7FyElm7/PGMt56o8AKcnnnS3A8ESV4c1qDEnub\
    u3LT2Z4oBp+jRTBDMAwGA1UdEwEB/wQCMAAwFAYDVR0RBA0wC4IJbG9jYWxob3N0MB0GA1UdDgQWBBRgXKdy\
    AbkioNDCtylPnpR7K8CpkjAKBggqhkjOPQQDAgNIADBFAiEApZ7e0MhD3l4a6s0+9v+SVa4I2npTnU1nHY1B\
    1Tm9XicCIHGH7WDGVzpFIS96L9UVw81W3/V6YoI1E32CizswGKmo";

/// A key for these tests only.
const KEY: &str = "\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgXgsZlTzcH/gNAnAFjZy1hhog15Pff/HGjpCE\
    vHuj72uhRANCAAStANLkFAN81z9vc7ZugjINOoc+SWWrsEQtw7IexchJZu/zxjLeeqPACnJ550twPBEleHNa\
    gxJ7m7ty09meKAaf";

fn decode(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Serves a few connections and returns its port.
fn start() -> u16 {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(decode(KEY)));
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(decode(CERTIFICATE))], key)
        .unwrap();
    serve(config)
}

fn serve(config: rustls::ServerConfig) -> u16 {
    let config = Arc::new(config);
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming().take(3).flatten() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, socket);
            if stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        }
    });
    port
}

#[tokio::test]
async fn sec03_a_certificate_of_nobody_is_refused() {
    let port = start();
    let url = format!("https://localhost:{port}/");
    // A client that trusts the certificate is served: it has no other flaw.
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from(decode(CERTIFICATE)))
        .unwrap();
    let trusting = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let http = reqwest::ClientBuilder::new().no_proxy();
    let http = http.tls_backend_preconfigured(trusting).build().unwrap();
    assert!(http.get(&url).send().await.unwrap().status().is_success());

    let config = here();
    let refused = outcome(asked(&config, &url)).await;
    assert_eq!(refused.unwrap_err(), Undelivered::NeverSent);
}

#[tokio::test]
async fn sec03_settings_of_the_host_do_not_switch_it_off() {
    let url = format!("https://localhost:{}/", start());
    let config = here();
    let careless = reqwest::ClientBuilder::new()
        .no_proxy()
        .tls_danger_accept_invalid_certs(true);
    let careless = client(careless, &Trust::new(), Presents::Nothing).unwrap();
    let (request, limits) = asked(&config, &url);
    let refused = exchange(&careless, &request, &limits).await;
    assert_eq!(refused.unwrap_err(), Undelivered::NeverSent);
    let config = elsewhere();
    let blocked = outcome(asked(&config, &url)).await;
    assert_eq!(blocked.unwrap_err(), Undelivered::Blocked);
}

mod private {
    use rustls::pki_types::pem::PemObject;
    use rustls::server::WebPkiClientVerifier;

    use super::*;

    const CA: &[u8] = include_bytes!("../../../tests/keys/tls/ca.pem");
    const SERVER: &[u8] = include_bytes!("../../../tests/keys/tls/server.pem");
    const SERVER_KEY: &[u8] = include_bytes!("../../../tests/keys/tls/server.key");
    const CLIENT: &[u8] = include_bytes!("../../../tests/keys/tls/client.pem");
    const CLIENT_KEY: &[u8] = include_bytes!("../../../tests/keys/tls/client.key");

    fn certificate(pem: &[u8]) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem).unwrap()
    }

    /// A server of a private certificate authority, which requires client certificates.
    fn strict() -> u16 {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate(CA)).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.unwrap())
            .with_single_cert(
                vec![certificate(SERVER)],
                PrivateKeyDer::from_pem_slice(SERVER_KEY).unwrap(),
            );
        serve(config.unwrap())
    }

    async fn status(config: &Arc<Config>, trust: &Trust, port: u16) -> Result<u16, Undelivered> {
        let (request, limits) = asked(config, &format!("https://localhost:{port}/"));
        let answer = direct(trust).exchange(&request, limits).await?;
        Ok(answer.status().as_u16())
    }

    #[tokio::test]
    async fn roots_and_a_client_certificate_of_the_host_are_used() {
        let port = strict();
        let config = config(&format!("https://localhost:{port}/mcp"));
        let trust = Trust::new();
        let refused = status(&config, &trust, port).await;
        assert_eq!(refused.unwrap_err(), Undelivered::NeverSent);
        let trust = trust.add_roots(CA).unwrap();
        assert!(status(&config, &trust, port).await.is_err());
        let trust = trust.client_certificate(CLIENT, CLIENT_KEY).unwrap();
        assert_eq!(status(&config, &trust, port).await, Ok(200));
    }

    #[tokio::test]
    async fn f15_a_server_that_another_one_announces_does_not_see_the_client_certificate() {
        let (port, other) = (strict(), strict());
        let config = config(&format!("https://localhost:{port}/mcp"));
        let trust = Trust::new().add_roots(CA).unwrap();
        let trust = trust.client_certificate(CLIENT, CLIENT_KEY).unwrap();
        assert!(status(&config, &trust, other).await.is_err());
        let trust = trust.present_to("LocalHost");
        assert_eq!(status(&config, &trust, other).await, Ok(200));
    }

    #[test]
    fn pairs_that_do_not_belong_together_are_refused() {
        let trust = Trust::new();
        let crossed = trust.clone().client_certificate(CLIENT, SERVER_KEY);
        assert!(matches!(crossed.unwrap_err(), TrustFlaw::Client(_)));
        let keyless = trust.clone().client_certificate(CLIENT, CLIENT);
        assert_eq!(keyless.unwrap_err(), TrustFlaw::NoKey);
        assert_eq!(
            trust.clone().add_roots(CLIENT_KEY).unwrap_err(),
            TrustFlaw::NoCertificate
        );
        assert_eq!(trust.add_roots("x").unwrap_err(), TrustFlaw::NoCertificate);
    }
}
