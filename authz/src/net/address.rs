//! Which IP addresses belong to the public internet. Owns the table of special-purpose ranges; never resolves or dials anything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Special-purpose IPv4 ranges (IANA registry of RFC 6890) with what they are, as a reader of an error needs to hear it.
const SPECIAL_V4: [([u8; 4], u8, &str); 18] = [
    ([0, 0, 0, 0], 8, "unspecified"),
    ([10, 0, 0, 0], 8, "private"),
    ([100, 64, 0, 0], 10, "carrier-grade NAT"),
    ([127, 0, 0, 0], 8, "loopback"),
    // Azure answers its instances with credentials-related configuration here, in the middle of public space.
    ([168, 63, 129, 16], 32, "cloud metadata"),
    ([169, 254, 169, 254], 32, "cloud metadata"),
    ([169, 254, 0, 0], 16, "link-local"),
    ([172, 16, 0, 0], 12, "private"),
    ([192, 0, 0, 0], 24, "reserved for protocols"),
    ([192, 0, 2, 0], 24, "documentation"),
    ([192, 88, 99, 0], 24, "6to4 relay"),
    ([192, 168, 0, 0], 16, "private"),
    ([198, 18, 0, 0], 15, "benchmarking"),
    ([198, 51, 100, 0], 24, "documentation"),
    ([203, 0, 113, 0], 24, "documentation"),
    ([255, 255, 255, 255], 32, "broadcast"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([240, 0, 0, 0], 4, "reserved"),
];

/// The same for IPv6: the ranges inside 2000::/3 that are not global, and those outside of it that deserve their own name.
const SPECIAL_V6: [([u16; 4], u8, &str); 9] = [
    // Teredo, ORCHID, benchmarking and the rest of the protocol assignments.
    ([0x2001, 0, 0, 0], 23, "reserved for protocols"),
    ([0x2001, 0xdb8, 0, 0], 32, "documentation"),
    // Deprecated (RFC 7526) and a detour to any IPv4 address: refused whatever is embedded.
    ([0x2002, 0, 0, 0], 16, "6to4"),
    ([0x3fff, 0, 0, 0], 20, "documentation"),
    ([0x64, 0xff9b, 1, 0], 48, "local NAT64"),
    ([0xfc00, 0, 0, 0], 7, "unique local"),
    ([0xfe80, 0, 0, 0], 10, "link-local"),
    ([0xfec0, 0, 0, 0], 10, "site-local"),
    ([0xff00, 0, 0, 0], 8, "multicast"),
];

/// What kind of non-public address this is; `None` for a public one.
///
/// IPv4 carried inside IPv6 (mapped, and the well-known NAT64 prefix that DNS64 resolvers hand out) is judged by the IPv4 address.
pub(crate) fn special_kind(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    let bits = address.to_bits();
    let within = |net: [u8; 4], length: u8| (bits ^ u32::from_be_bytes(net)).leading_zeros() >= u32::from(length);
    SPECIAL_V4.iter().find(|(net, length, _)| within(*net, *length)).map(|(_, _, kind)| *kind)
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_loopback() {
        return Some("loopback");
    }
    if address.is_unspecified() {
        return Some("unspecified");
    }
    if let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = address.segments() {
        return special_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    }
    let upper = (address.to_bits() >> 64) as u64;
    let within = |net: [u16; 4], length: u8| {
        let net = net.iter().fold(0_u64, |all, segment| all << 16 | u64::from(*segment));
        (upper ^ net).leading_zeros() >= u32::from(length)
    };
    if let Some((_, _, kind)) = SPECIAL_V6.iter().find(|(net, length, _)| within(*net, *length)) {
        return Some(kind);
    }
    // Only 2000::/3 is global unicast space; this also covers IPv4-compatible addresses and every range yet to be assigned.
    (!within([0x2000, 0, 0, 0], 3)).then_some("reserved")
}
