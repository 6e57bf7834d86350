//! Addresses of peers, and networks of them, for lists of who may come.
//!
//! One number for both families: an IPv4 address is the IPv6 address that maps it, so a list
//! written for one matches what a socket of the other reports. Numbers and their text alone:
//! nothing here can reach a peer.

use core::net::{IpAddr, Ipv6Addr};
use std::fmt;

/// An address of a peer: IPv6, or IPv4 as `::ffff:a.b.c.d`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Address(pub u128);

/// A network: the addresses that begin with the same bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    first: u128,
    /// Leading bits that count, in `[0, 128]`.
    bits: u32,
}

/// Bits of the prefix that maps IPv4.
const MAPPED_BITS: u32 = 96;
/// Bits of an IPv6 network that is one site's to give out.
const SITE_BITS: u32 = 64;

impl Address {
    /// The address of a socket.
    #[must_use]
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => Self(v6.to_bits()),
        }
    }

    /// What is counted as one peer: an IPv4 address, or the /64 of an IPv6 address, of which
    /// whoever has one has 2^64.
    #[must_use]
    pub const fn source(self) -> Self {
        let is_mapped = self.0 >> (128 - MAPPED_BITS) == 0xffff;
        if is_mapped { self } else { Self(self.0 & mask(SITE_BITS)) }
    }
}

impl Network {
    /// The network that `text` names: `10.0.0.0/8`, `fd00::/8`, or one address. None when it is not
    /// one, or when bits behind the prefix are set, which would name less than it seems to.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let ip: IpAddr = address.parse().ok()?;
        let (before, longest) = if ip.is_ipv4() { (MAPPED_BITS, 32) } else { (0, 128) };
        let prefix = match prefix {
            None => longest,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
            Some(_) => return None,
        };
        let first = Address::of(ip).0;
        let bits = before + prefix;
        (prefix <= longest && first & !mask(bits) == 0).then_some(Self { first, bits })
    }

    /// Whether an address is in it.
    #[must_use]
    pub const fn contains(&self, address: Address) -> bool {
        address.0 & mask(self.bits) == self.first
    }
}

/// Whether a list lets an address in; an empty list lets everybody in.
#[must_use]
pub fn is_allowed(list: &[Network], address: Address) -> bool {
    list.is_empty() || list.iter().any(|network| network.contains(address))
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v6 = Ipv6Addr::from_bits(self.first);
        match v6.to_ipv4_mapped().filter(|_| self.bits >= MAPPED_BITS) {
            Some(v4) => write!(f, "{v4}/{}", self.bits - MAPPED_BITS),
            None => write!(f, "{v6}/{}", self.bits),
        }
    }
}

const fn mask(bits: u32) -> u128 {
    if bits == 0 { 0 } else { u128::MAX << (128 - bits) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::of(text.parse().unwrap())
    }

    #[test]
    fn networks_hold_what_they_say() {
        #[rustfmt::skip]
        let rows = [
            ("10.0.0.0/8",      "10.255.0.1",        true),
            ("10.0.0.0/8",      "11.0.0.1",          false),
            ("10.0.0.0/8",      "::ffff:10.1.2.3",   true),
            ("10.1.2.3",        "10.1.2.3",          true),
            ("10.1.2.3",        "10.1.2.4",          false),
            ("0.0.0.0/0",       "255.1.1.1",         true),
            ("0.0.0.0/0",       "2001:db8::1",       false),
            ("::/0",            "2001:db8::1",       true),
            ("::/0",            "1.2.3.4",           true),
            ("2001:db8::/32",   "2001:db8:ffff::1",  true),
            ("2001:db8::/32",   "2001:db9::1",       false),
            ("::1/128",         "::1",               true),
        ];
        for (network, peer, is_in) in rows {
            let parsed = Network::parse(network).unwrap();
            assert_eq!(parsed.contains(address(peer)), is_in, "{peer} in {network}");
            assert_eq!(Network::parse(&parsed.to_string()), Some(parsed), "{network}");
        }
        let wrong =
            "10.0.0.1/8|10.0.0.0/33|::/129|10.0.0/8|a/8|10.0.0.0/|10.0.0.0/+8|1.1.1.1/-1||/8";
        for wrong in wrong.split('|') {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
        assert!(is_allowed(&[], address("1.1.1.1")));
        assert!(!is_allowed(&[Network::parse("10.0.0.0/8").unwrap()], address("1.1.1.1")));
    }

    #[test]
    fn one_site_is_one_source() {
        let is_one = |a, b| address(a).source() == address(b).source();
        assert!(is_one("2001:db8::1", "2001:db8::ffff:2"));
        assert!(!is_one("2001:db8::1", "2001:db8:0:1::1"));
        assert!(!is_one("10.0.0.1", "10.0.0.2"));
        assert!(is_one("10.0.0.1", "::ffff:10.0.0.1"));
    }
}
