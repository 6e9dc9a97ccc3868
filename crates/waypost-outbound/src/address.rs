//! Which addresses may be called without an operator's explicit word. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is one of the public internet: neither private, loopback, link-local nor set
/// aside for any other purpose, and not an IPv6 form that carries such an IPv4 address.
///
/// Cloud metadata services (`169.254.169.254`, `fd00:ec2::254`) are link-local and unique local, and so
/// are refused with the rest. The ranges are those of the IANA special-purpose address registries.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => is_public_v4(four),
        IpAddr::V6(six) => is_public_v6(six),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let set_aside = match (a, b, c) {
        (0 | 10 | 127, _, _) => true, // this network, private, loopback
        (100, 64..=127, _) => true,   // carrier-grade NAT, RFC 6598
        (169, 254, _) => true,        // link-local, metadata
        (172, 16..=31, _) => true,    // private
        (192, 0, 0) => true,          // protocol assignments, RFC 6890
        (192, 0, 2) => true,          // documentation
        (192, 31, 196) => true,       // AS112, RFC 7535
        (192, 52, 193) => true,       // AMT, RFC 7450
        (192, 88, 99) => true,        // 6to4 relays, RFC 7526
        (192, 168, _) => true,        // private
        (192, 175, 48) => true,       // AS112, RFC 7534
        (198, 18 | 19, _) => true,    // benchmarking, RFC 2544
        (198, 51, 100) => true,       // documentation
        (203, 0, 113) => true,        // documentation
        (224.., _, _) => true,        // multicast, reserved, broadcast
        _ => false,
    };
    !set_aside
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(four) = embedded_v4(address) {
        return is_public_v4(four);
    }
    let s = address.segments();
    // Only 2000::/3 is given out for the public internet; loopback, unspecified, unique local,
    // link-local, site-local, multicast and discard-only addresses all lie outside it.
    let global = s[0] & 0xe000 == 0x2000;
    let set_aside = match s {
        [0x2001, b, ..] if b < 0x0200 => true, // protocol assignments, Teredo, ORCHID, benchmarking
        [0x2001, 0x0db8, ..] => true,          // documentation
        [0x3fff, b, ..] if b < 0x1000 => true, // documentation, RFC 9637
        [0x2620, 0x004f, 0x8000, ..] => true,  // AS112
        _ => false,
    };
    global && !set_aside
}

/// The IPv4 address within an IPv6 address of a form that networks translate back to IPv4.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let of = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,            // unspecified, loopback
        [0, 0, 0, 0, 0, 0xffff, h, l] => Some(of(h, l)), // mapped
        [0, 0, 0, 0, 0, 0, h, l] => Some(of(h, l)),      // compatible
        [0, 0, 0, 0, 0xffff, 0, h, l] => Some(of(h, l)), // translated, RFC 2765
        [0x0064, 0xff9b, 0, 0, 0, 0, h, l] => Some(of(h, l)), // NAT64, RFC 6052
        [0x2002, h, l, ..] => Some(of(h, l)),            // 6to4, RFC 3056
        [.., 0x0000 | 0x0200, 0x5efe, h, l] => Some(of(h, l)), // ISATAP, RFC 5214
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_set_aside_are_not_public() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::2",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2606:4700::5efe:10.0.0.1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text} was taken for public");
        }
    }

    #[test]
    fn addresses_of_the_internet_are_public() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.1.1.1",
            "128.0.0.1",
            "169.253.1.1",
            "172.15.1.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.1.1",
            "198.17.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001::5",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2001:4860:4860::8888",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text} was refused");
        }
    }

    proptest! {
        #[test]
        fn every_ipv6_form_of_an_ipv4_address_is_judged_as_that_address(bits in any::<u32>()) {
            let four = Ipv4Addr::from(bits);
            let high = (bits >> 16) as u16;
            let low = bits as u16;
            prop_assume!(bits > 1);
            for six in [
                four.to_ipv6_mapped(),
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                prop_assert_eq!(is_public(IpAddr::V6(six)), is_public(IpAddr::V4(four)));
            }
        }
    }
}
