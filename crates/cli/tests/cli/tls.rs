//! Private certificate authorities, client certificates, proxies.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::fake::Fake;
use crate::support::{Desk, text};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/keys/tls")
        .join(name)
}

pub(crate) fn path(name: &str) -> String {
    file(name).display().to_string()
}

fn certificates(name: &str) -> Vec<CertificateDer<'static>> {
    let found = CertificateDer::pem_file_iter(file(name)).expect("a file");
    found.map(|found| found.expect("a certificate")).collect()
}

/// A server with a certificate of a private authority; `mtls`: it requires client certificates.
pub(crate) fn server(host: &str, mtls: bool) -> Fake {
    server_at("127.0.0.1", host, mtls)
}

/// Same as [`server`], at another loopback address.
pub(crate) fn server_at(address: &str, host: &str, mtls: bool) -> Fake {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let settings = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the versions");
    let settings = if mtls {
        let mut roots = rustls::RootCertStore::empty();
        for root in certificates("ca.pem") {
            roots.add(root).expect("a root");
        }
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        settings.with_client_cert_verifier(verifier.build().expect("a verifier"))
    } else {
        settings.with_no_client_auth()
    };
    let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("a key");
    let settings = settings.with_single_cert(certificates("server.pem"), key);
    let fake = Fake::start_tls(address, host, Arc::new(settings.expect("a certificate")));
    let secret = Some("hush".to_owned());
    fake.state().clients.insert("service".to_owned(), secret);
    fake
}

/// A login without a user, which makes every kind of request except registration.
fn login(desk: &Desk, url: &str, more: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String) {
    let base = [
        "login",
        url,
        "--client-id",
        "service",
        "--client-secret-env",
        "SECRET",
        "--client-credentials",
    ];
    run(desk, &[&base, more].concat(), env)
}

fn run(desk: &Desk, arguments: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = desk.command(arguments);
    for name in [
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
    ] {
        command.env_remove(name);
        command.env_remove(name.to_lowercase());
    }
    command.env("SECRET", "hush").envs(env.iter().copied());
    let output = command.output().expect("it runs");
    let said = text(&output.stderr) + &text(&output.stdout);
    (output.status.code(), said)
}

#[test]
fn a_private_authority_is_refused_unless_it_is_named() {
    let fake = server("127.0.0.1", false);
    let desk = Desk::new();
    let (status, said) = login(&desk, &fake.url(), &[], &[]);
    assert_eq!(status, Some(4), "{said}");
    assert!(
        said.contains("--ca-file") && said.contains(&fake.url()),
        "{said}"
    );
    assert!(fake.state().requests.is_empty());
    let ca = path("ca.pem");
    let (status, said) = login(&desk, &fake.url(), &[], &[("SSL_CERT_FILE", &ca)]);
    assert_eq!(status, Some(0), "{said}");
    // A file that cannot be used is named, rather than left out.
    let other = Desk::new();
    let none = [("SSL_CERT_FILE", "/nowhere/at/all.pem")];
    let (status, said) = login(&other, &fake.url(), &[], &none);
    assert_ne!(status, Some(0), "{said}");
    assert!(said.contains("/nowhere/at/all.pem"), "{said}");
    // It was not remembered.
    let desk = Desk::new();
    let (status, said) = login(&desk, &fake.url(), &["--ca-file", &ca], &[]);
    assert_eq!(status, Some(0), "{said}");
    // The other commands know it from the sign-in.
    let refused = ["token", &fake.url(), "--refused"];
    let _renewed = run(&desk, &refused, &[]);
    let (status, said) = run(&desk, &["doctor", &fake.url()], &[]);
    assert_eq!(status, Some(0), "{said}");
    let (status, said) = run(&desk, &["logout", &fake.url()], &[]);
    assert_eq!(status, Some(0), "{said}");
    assert!(
        fake.state()
            .requests
            .iter()
            .any(|asked| asked == "POST /revoke")
    );
    let (status, said) = run(&desk, &["doctor", &fake.url(), "--ca-file", &ca], &[]);
    assert_eq!(status, Some(0), "{said}");
}

#[test]
fn a_server_that_wants_a_client_certificate_gets_it_at_every_request() {
    let fake = server("localhost", true);
    let desk = Desk::new();
    let (ca, certificate, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let (status, said) = login(&desk, &fake.url(), &["--ca-file", &ca], &[]);
    assert_eq!(status, Some(4), "{said}");
    assert!(said.contains("--client-cert"), "{said}");
    let pair = [
        "--ca-file",
        &ca,
        "--client-cert",
        &certificate,
        "--client-cert-key",
        &key,
    ];
    let (status, said) = login(&desk, &fake.url(), &pair, &[]);
    assert_eq!(status, Some(0), "{said}");
    let (status, said) = run(&desk, &["token", &fake.url()], &[]);
    assert_eq!(status, Some(0), "{said}");
    let (status, said) = run(&desk, &["logout", &fake.url()], &[]);
    assert_eq!(status, Some(0), "{said}");
    let requests = fake.state().requests.join(" ");
    assert!(
        requests.contains("POST /token") && requests.contains("POST /revoke"),
        "{requests}"
    );
}

#[test]
fn f15_a_server_that_another_one_announces_does_not_see_the_client_certificate() {
    // On loopback both names lead here; only the first is the user's.
    let (fake, other) = (server("127.0.0.1", true), server("localhost", true));
    fake.state().announces = Some(other.issuer());
    let desk = Desk::new();
    let (ca, certificate, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let pair = [
        "--ca-file",
        &ca,
        "--client-cert",
        &certificate,
        "--client-cert-key",
        &key,
    ];
    let (status, said) = login(&desk, &fake.url(), &pair, &[]);
    assert_eq!(status, Some(4), "{said}");
    assert!(said.contains("--client-cert-host"), "{said}");
    assert!(other.state().requests.is_empty());
    // The user lists the host, or names the server itself. The MCP server takes no token of the other one.
    let issuer = other.issuer();
    for more in [["--client-cert-host", "localhost"], ["--issuer", &issuer]] {
        let named = [&pair[..], &more].concat();
        let (_, said) = login(&Desk::new(), &fake.url(), &named, &[]);
        let asked = std::mem::take(&mut other.state().requests);
        assert!(asked.contains(&"POST /token".to_owned()), "{said}");
    }
}

#[test]
fn files_that_cannot_be_used_are_named_with_their_option() {
    let desk = Desk::new();
    let url = "https://127.0.0.1:1/mcp";
    let (ca, certificate, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let other = path("server.key");
    let cases: [(&[&str], &str); 5] = [
        (&["--ca-file", "/nowhere.pem"], "/nowhere.pem (--ca-file): "),
        (&["--ca-file", &key], "this PEM file has no certificate"),
        (
            &["--client-cert", &certificate, "--client-cert-key", &ca],
            "(--client-cert-key): ",
        ),
        (
            &["--client-cert", &key, "--client-cert-key", &key],
            "(--client-cert): ",
        ),
        (
            &["--client-cert", &certificate, "--client-cert-key", &other],
            "cannot be used together",
        ),
    ];
    for (options, words) in cases {
        let (status, said) = login(&desk, url, options, &[]);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains(words), "{said}");
    }
    let (status, _) = login(&desk, url, &["--client-cert", &certificate], &[]);
    assert_eq!(status, Some(2));
}

/// A proxy that connects to one port for every name, and records the names.
fn proxy(to: u16) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let keeps = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let line = text(head.split(|byte| *byte == b'\r').next().unwrap_or_default());
            keeps.lock().expect("the list").push(line);
            let mut server = std::net::TcpStream::connect(("127.0.0.1", to)).expect("a server");
            let _gone = client.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let mut back = (
                server.try_clone().expect("it"),
                client.try_clone().expect("it"),
            );
            std::thread::spawn(move || std::io::copy(&mut back.0, &mut back.1));
            std::thread::spawn(move || std::io::copy(&mut client, &mut server));
        }
    });
    (port, asked)
}

#[test]
fn a_proxy_that_the_user_named_is_used_wherever_it_is() {
    let fake = server("mcp.example", false);
    let port = fake
        .issuer()
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    let (proxy, asked) = proxy(port.expect("a port"));
    let ca = path("ca.pem");
    for address in [
        format!("http://127.0.0.1:{proxy}"),
        format!("http://localhost:{proxy}"),
    ] {
        let desk = Desk::new();
        let env = [("HTTPS_PROXY", address.as_str())];
        let (status, said) = login(&desk, &fake.url(), &["--ca-file", &ca], &env);
        assert_eq!(status, Some(0), "{said}");
    }
    let asked = asked.lock().expect("the list").clone();
    let tunnel = format!("CONNECT mcp.example:{} HTTP/1.1", port.expect("a port"));
    assert!(
        asked.iter().all(|line| *line == tunnel) && asked.len() > 4,
        "{asked:?}"
    );
    // Without the proxy the name does not resolve.
    let desk = Desk::new();
    let address = format!("http://127.0.0.1:{proxy}");
    let env = [
        ("HTTPS_PROXY", address.as_str()),
        ("NO_PROXY", "mcp.example"),
    ];
    let (status, said) = login(&desk, &fake.url(), &["--ca-file", &ca], &env);
    assert_eq!(status, Some(4), "{said}");
}

#[test]
fn this_machine_is_reached_without_a_proxy_and_without_a_name_server() {
    let dead = "http://127.0.0.1:9";
    let env = [
        ("HTTPS_PROXY", dead),
        ("HTTP_PROXY", dead),
        ("ALL_PROXY", dead),
    ];
    let ca = path("ca.pem");
    for host in ["127.0.0.1", "localhost", "app.localhost"] {
        let fake = server(host, false);
        let desk = Desk::new();
        let (status, said) = login(&desk, &fake.url(), &["--ca-file", &ca], &env);
        assert_eq!(status, Some(0), "{host}: {said}");
    }
    let fake = Fake::start();
    let (status, said) = run(&Desk::new(), &["doctor", &fake.url()], &env);
    assert_eq!(status, Some(0), "{said}");
}
