//! Servers of an intranet: names that resolve to addresses that the public cannot reach (SEC-06).

use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivateKeyDer;

use crate::fake::Fake;
use crate::support::{Desk, text};
use crate::tls::{path, server_at};

/// The command where these names are known to the resolver, as a file of hosts has it.
struct Intranet {
    hosts: tempfile::NamedTempFile,
}

impl Intranet {
    /// None where this machine does not let a process have a file of hosts of its own.
    fn new(names: &[&str]) -> Option<Self> {
        let hosts = tempfile::NamedTempFile::new().expect("a file");
        let lines: String = names
            .iter()
            .map(|name| format!("{} {name}\n", place().trim_matches(['[', ']'])))
            .collect();
        std::fs::write(hosts.path(), lines).expect("written");
        let there = Self { hosts };
        let tried = there.wrap(&Command::new("true")).output();
        if tried.is_ok_and(|tried| tried.status.success()) {
            return Some(there);
        }
        eprintln!(
            "SKIPPED: no mount namespace here (unshare -rm), so no name can be made to resolve"
        );
        None
    }

    fn wrap(&self, command: &Command) -> Command {
        let mut to = Command::new("unshare");
        to.args(["-rm", "sh", "-c"])
            .arg("mount --bind \"$0\" /etc/hosts && exec \"$@\"")
            .arg(self.hosts.path())
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => to.env(name, value),
                None => to.env_remove(name),
            };
        }
        for proxy in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            to.env_remove(proxy);
        }
        to
    }

    fn run(&self, desk: &Desk, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.wrap(&desk.command(arguments));
        let output = command.env("SECRET", "hush").output().expect("it runs");
        let said = text(&output.stderr) + &text(&output.stdout);
        (output.status.code(), said)
    }
}

const CLIENT: [&str; 5] = [
    "--client-id",
    "service",
    "--client-secret-env",
    "SECRET",
    "--client-credentials",
];

#[test]
fn the_server_that_the_user_named_may_be_inside() {
    let Some(inside) = Intranet::new(&["mcp.example"]) else {
        return;
    };
    let fake = server_at(&place(), "mcp.example", false);
    let (desk, url, ca) = (Desk::new(), fake.url(), path("ca.pem"));
    let login = [&["login", &url, "--ca-file", &ca], &CLIENT[..]].concat();
    let (status, said) = inside.run(&desk, &login);
    assert_eq!(status, Some(0), "{said}");
    for command in [&["token", &url, "--refused"], &["doctor", &url, "--json"]] {
        let (status, said) = inside.run(&desk, command);
        assert_eq!(status, Some(0), "{said}");
    }
    let (status, said) = inside.run(&desk, &["logout", &url]);
    assert_eq!(status, Some(0), "{said}");
    let requests = fake.state().requests.join(" ");
    assert!(requests.contains("POST /revoke"), "{requests}");
}

#[test]
fn an_authorization_server_inside_is_named_by_the_user_or_not_contacted() {
    let names = ["mcp.example", "as.example"];
    let Some(inside) = Intranet::new(&names) else {
        return;
    };
    let (fake, ca) = (server_at(&place(), "mcp.example", false), path("ca.pem"));
    let issuer = fake.issuer().replace("mcp.example", "as.example");
    fake.state().announces = Some(issuer.clone());
    let (desk, url) = (Desk::new(), fake.url());
    let login = [&["login", &url, "--ca-file", &ca], &CLIENT[..]].concat();
    let (status, said) = inside.run(&desk, &login);
    assert_eq!(status, Some(5), "{said}");
    assert!(said.contains("--allow-host as.example"), "{said}");
    let requests = fake.state().requests.join(" ");
    assert!(
        !requests.contains("oauth-authorization-server"),
        "{requests}"
    );
    for named in [["--allow-host", "as.example"], ["--issuer", &issuer]] {
        let login = [&login[..], &named].concat();
        let (status, said) = inside.run(&Desk::new(), &login);
        assert_eq!(status, Some(0), "{named:?}: {said}");
    }
}

/// A private address of this machine, if it has one.
fn private() -> Option<IpAddr> {
    let towards = |own: &str, other: &str| {
        let socket = UdpSocket::bind(own).ok()?;
        socket.connect(other).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let found = [
        towards("0.0.0.0:0", "10.255.255.255:9"),
        towards("[::]:0", "[fd00::1]:9"),
    ];
    let is_private = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(ip) => ip.is_unique_local(),
    };
    found.into_iter().flatten().find(is_private)
}

fn in_url(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// An address that no server may lead to.
fn place() -> String {
    private().map_or_else(|| "127.0.0.1".to_owned(), in_url)
}

/// A value of DER (X.690).
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let inside = parts.concat();
    let length = u16::try_from(inside.len()).expect("a short value");
    let [high, low] = length.to_be_bytes();
    let length = match length {
        0..128 => vec![low],
        128..256 => vec![0x81, low],
        256.. => vec![0x82, high, low],
    };
    [&[tag][..], &length, &inside].concat()
}

/// A certificate for an address, which is its own authority (RFC 5280).
fn made_for(address: IpAddr) -> (tempfile::NamedTempFile, Arc<rustls::ServerConfig>) {
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
    let random = ring::rand::SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
    let pkcs8 = pkcs8.expect("a key");
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random);
    let key = key.expect("a key");
    let sequence = |parts: &[&[u8]]| der(0x30, parts);
    let identifier = |bytes: &[u8]| der(6, &[bytes]);
    let common_name = sequence(&[&identifier(&[0x55, 4, 3]), &der(0x0c, &[b"private"])]);
    let name = sequence(&[&der(0x31, &[&common_name])]);
    let ecdsa = sequence(&[&identifier(b"\x2a\x86\x48\xce\x3d\x04\x03\x02")]);
    let until = |time: &[u8]| der(0x18, &[time]);
    let public = [&[0], key.public_key().as_ref()].concat();
    let kind = sequence(&[
        &identifier(b"\x2a\x86\x48\xce\x3d\x02\x01"),
        &identifier(b"\x2a\x86\x48\xce\x3d\x03\x01\x07"),
    ]);
    let address = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let names = der(4, &[&sequence(&[&der(0x87, &[&address])])]);
    let names = sequence(&[&identifier(&[0x55, 0x1d, 0x11]), &names]);
    let body = sequence(&[
        &der(0xa0, &[&der(2, &[&[2]])]),
        &der(2, &[&[1]]),
        &ecdsa,
        &name,
        &sequence(&[&until(b"20200101000000Z"), &until(b"21200101000000Z")]),
        &name,
        &sequence(&[&kind, &der(3, &[&public])]),
        &der(0xa3, &[&sequence(&[&names])]),
    ]);
    let signature = key.sign(&random, &body).expect("a signature");
    let signature = [&[0], signature.as_ref()].concat();
    let certificate = sequence(&[&body, &ecdsa, &der(3, &[&signature])]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let text = STANDARD.encode(&certificate);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    std::fs::write(file.path(), pem).expect("written");
    let key = PrivateKeyDer::try_from(pkcs8.as_ref().to_vec()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let settings = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.into()], key);
    (file, Arc::new(settings.expect("a certificate")))
}

#[test]
fn a_server_at_a_private_address_is_signed_in_to() {
    let Some(address) = private() else {
        eprintln!("SKIPPED: this machine has no private address");
        return;
    };
    let (authority, settings) = made_for(address);
    let address = in_url(address);
    let fake = Fake::start_tls(&address, &address, settings);
    fake.state()
        .clients
        .insert("service".to_owned(), Some("hush".to_owned()));
    let (desk, url) = (Desk::new(), fake.url());
    let ca = authority.path().display().to_string();
    let login = [&["login", &url, "--ca-file", &ca], &CLIENT[..]].concat();
    let mut command = desk.command(&login);
    let output = command.env("SECRET", "hush").output().expect("it runs");
    let said = text(&output.stderr) + &text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(fake.state().requests.contains(&"POST /token".to_owned()));
}
