//! Address classes of hosts: literal addresses and special-use names (requirements 22.5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Host;

/// The class of an address. A driver applies the same classes to resolved addresses (SEC-06).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressClass {
    /// Any address that is in no other class.
    Public,
    /// The local device.
    Loopback,
    /// A private network.
    Private,
    /// Link-local, including the metadata services of cloud providers.
    LinkLocal,
    /// The metadata service of a cloud provider, by name or by its own address.
    CloudMetadata,
    /// Reserved, documentation and multicast addresses, which are never contacted.
    Reserved,
}

/// The policy for the addresses of a connection: public ones, and those of the MCP URL's own class. An origin
/// that the configuration names may be at a private or loopback address, too. Hosts that the configuration
/// allows are exempt, except reserved addresses (SEC-05, SEC-06, F05).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPolicy {
    pub(crate) class: AddressClass,
    /// The host is `localhost` or a name under it, which only means the local device (RFC 6761).
    pub(crate) local_name: bool,
    pub(crate) host_listed: bool,
    /// The configuration names the origin; no server announced it (SEC-06).
    pub(crate) origin_named: bool,
}

impl AddressPolicy {
    /// Returns whether the configuration names the origin of the request: the MCP URL's, an issuer's, or a document's.
    pub fn is_named(&self) -> bool {
        self.origin_named
    }

    /// Returns true if a connection to an address of this class is allowed.
    pub fn permits(&self, class: AddressClass) -> bool {
        match class {
            AddressClass::Public => !self.local_name,
            AddressClass::Reserved => false,
            AddressClass::Loopback
            | AddressClass::Private
            | AddressClass::LinkLocal
            | AddressClass::CloudMetadata => {
                let local = class == AddressClass::Loopback;
                let named = self.origin_named && (local || class == AddressClass::Private);
                (self.host_listed || named || class == self.class) && (local || !self.local_name)
            }
        }
    }
}

/// Returns the class of a resolved address.
pub fn classify_ip(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(address) => classify_v4(address),
        IpAddr::V6(address) => classify_v6(address),
    }
}

/// Returns the class of a parsed host. A name is classified by its text; the driver classifies its resolved
/// addresses.
pub fn classify(host: &Host<&str>) -> AddressClass {
    match host {
        Host::Domain(name) => classify_name(name),
        Host::Ipv4(address) => classify_v4(*address),
        Host::Ipv6(address) => classify_v6(*address),
    }
}

/// Returns true for `localhost` and the names under it.
pub(crate) fn is_local_name(name: &str) -> bool {
    const LOCALHOST: &[u8; 9] = b"localhost";
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.as_bytes().split_last_chunk::<9>() {
        Some(([.., b'.'] | [], last)) => last.eq_ignore_ascii_case(LOCALHOST),
        Some(_) | None => false,
    }
}

fn classify_name(name: &str) -> AddressClass {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
    if is_local_name(name) {
        AddressClass::Loopback
    } else if is("metadata.google.internal") {
        AddressClass::CloudMetadata
    } else {
        AddressClass::Public
    }
}

/// Returns the class of an IPv4 address.
pub fn classify_v4(address: Ipv4Addr) -> AddressClass {
    match address.octets() {
        [127, ..] => AddressClass::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => {
            AddressClass::Private
        }
        [169, 254, ..] => AddressClass::LinkLocal,
        [0, ..]
        | [192, 0, 0 | 2, _]
        | [198, 18..=19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [224..=255, ..] => AddressClass::Reserved,
        [_, _, _, _] => AddressClass::Public,
    }
}

/// Returns the class of an IPv6 address; for mapped, NAT64 and 6to4 forms, that of the embedded IPv4
/// address.
pub fn classify_v6(address: Ipv6Addr) -> AddressClass {
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        classify_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressClass::Loopback,
        [0, 0, 0, 0, 0, 0, 0, 0] => AddressClass::Reserved,
        [0, 0, 0, 0, 0, 0xffff, high, low] => v4(high, low),
        // IPv4-compatible, and site-local: both deprecated, and still routed by some networks.
        [0, 0, 0, 0, 0, 0, high, low] => v4(high, low),
        [0xfec0..=0xfeff, ..] => AddressClass::Private,
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // NAT64 of a local network (RFC 8215).
        [0x64, 0xff9b, 1, ..] => AddressClass::Private,
        [0x2002, high, low, ..] => v4(high, low),
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254] => AddressClass::CloudMetadata,
        [0xfc00..=0xfdff, ..] => AddressClass::Private,
        [0xfe80..=0xfebf, ..] => AddressClass::LinkLocal,
        [0x100, 0, 0, 0, ..] | [0x2001, 0xdb8, ..] | [0xff00..=0xffff, ..] => {
            AddressClass::Reserved
        }
        [..] => AddressClass::Public,
    }
}
