//! The PROXY protocol, versions 1 and 2: a balancer says on whose behalf it connects, before anything else.
//!
//! Only peers that are named may say so, and they must: a header from anybody else is no HTTP and no TLS, and is refused as such.
//! (HAProxy's "The PROXY protocol, versions 1 & 2".)

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limits::PROXY_BYTES_MAX;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Longest line of the first version, its CRLF included.
const LINE_BYTES_MAX: usize = 107;

/// Reads a header and not one byte more. Gives the caller's address; none where the peer connects on its own behalf, or
/// does not know on whose.
///
/// # Errors
///
/// When the connection ends, or what came is no header.
pub(crate) async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    // The shortest header of either version is longer than this.
    let mut first = [0; SIGNATURE.len()];
    stream.read_exact(&mut first).await?;
    if first == SIGNATURE {
        let mut fixed = [0; 4];
        stream.read_exact(&mut fixed).await?;
        let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if length > PROXY_BYTES_MAX {
            return Err(malformed());
        }
        let mut rest = vec![0; length];
        stream.read_exact(&mut rest).await?;
        return second_version(fixed[0], fixed[1], &rest).ok_or_else(malformed);
    }
    if !first.starts_with(b"PROXY ") {
        return Err(malformed());
    }
    let mut line = first.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE_BYTES_MAX {
            return Err(malformed());
        }
        line.push(stream.read_u8().await?);
    }
    line.truncate(line.len() - 2);
    first_version(&line).ok_or_else(malformed)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a header of the PROXY protocol")
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443`. The outer option is whether it is well formed.
fn first_version(line: &[u8]) -> Option<Option<SocketAddr>> {
    let text = std::str::from_utf8(line).ok()?.strip_prefix("PROXY ")?;
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        return Some(None);
    }
    let mut fields = text.split(' ');
    let family = fields.next()?;
    let (source, target): (IpAddr, IpAddr) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let (port, _) = (decimal_port(fields.next()?)?, decimal_port(fields.next()?)?);
    let families_agree = match family {
        "TCP4" => source.is_ipv4() && target.is_ipv4(),
        "TCP6" => source.is_ipv6() && target.is_ipv6(),
        _ => false,
    };
    (families_agree && fields.next().is_none()).then_some(Some(SocketAddr::new(source, port)))
}

fn decimal_port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn second_version(version: u8, family: u8, rest: &[u8]) -> Option<Option<SocketAddr>> {
    match version {
        // LOCAL: the peer's own connection, such as a health check; the addresses mean nothing.
        0x20 => return Some(None),
        0x21 => {}
        _ => return None,
    }
    let port = |at: usize| Some(u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]));
    match family {
        0x11 => {
            let source: [u8; 4] = rest.get(..4)?.try_into().ok()?;
            rest.get(..12)?;
            Some(Some(SocketAddr::new(Ipv4Addr::from(source).into(), port(8)?)))
        }
        0x21 => {
            let source: [u8; 16] = rest.get(..16)?.try_into().ok()?;
            rest.get(..36)?;
            Some(Some(SocketAddr::new(Ipv6Addr::from(source).into(), port(32)?)))
        }
        // Datagrams, sockets of one machine, and what is not specified: "the receiver should ignore address information".
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Some(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<(Option<SocketAddr>, usize)> {
        let mut rest = bytes;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let address = runtime.block_on(read_header(&mut rest))?;
        Ok((address, bytes.len() - rest.len()))
    }

    fn second(version: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend_from_slice(&[version, family]);
        bytes.extend_from_slice(&u16::try_from(addresses.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(addresses);
        bytes
    }

    fn addressed(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn both_versions_say_who_calls_and_leave_what_follows() {
        let four = [203, 0, 113, 9, 198, 51, 100, 1, 0xdc, 4, 1, 187];
        let six: Vec<u8> = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]
            .into_iter()
            .chain([0; 16])
            .chain([0xdc, 4, 1, 187])
            .collect();
        let with_more: Vec<u8> = four.into_iter().chain([4, 0, 2, 7, 7]).collect();
        let cases = [
            (b"PROXY TCP4 203.0.113.9 198.51.100.1 56324 443\r\n".to_vec(), addressed("203.0.113.9:56324")),
            (b"PROXY TCP6 2001:db8::9 2001:db8::1 56324 443\r\n".to_vec(), addressed("[2001:db8::9]:56324")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (second(0x21, 0x11, &four), addressed("203.0.113.9:56324")),
            (second(0x21, 0x11, &with_more), addressed("203.0.113.9:56324")),
            (second(0x21, 0x21, &six), addressed("[2001:db8::9]:56324")),
            (second(0x20, 0x11, &four), None),
            (second(0x20, 0x00, &[]), None),
            (second(0x21, 0x00, &[]), None),
            (second(0x21, 0x31, &[0; 216]), None),
        ];
        for (mut bytes, expected) in cases {
            let length = bytes.len();
            bytes.extend_from_slice(b"GET / HTTP/1.1\r\n");
            assert_eq!(read(&bytes).unwrap(), (expected, length));
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        let cases: [&[u8]; 14] = [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"PROXY TCP4 203.0.113.9 198.51.100.1 56324\r\n",
            b"PROXY TCP4 203.0.113.9 198.51.100.1 56324 443 1\r\n",
            b"PROXY TCP4 203.0.113.9 198.51.100.1 65536 443\r\n",
            b"PROXY TCP4 203.0.113.9 198.51.100.1 +1 443\r\n",
            b"PROXY TCP4 203.0.113.9 198.51.100.1 01 443\r\n",
            b"PROXY TCP4 2001:db8::9 2001:db8::1 1 2\r\n",
            b"PROXY TCP6 203.0.113.9 198.51.100.1 1 2\r\n",
            b"PROXY TCP4  203.0.113.9 198.51.100.1 1 2\r\n",
            b"PROXY UNKNOWNX\r\n",
            b"proxy TCP4 203.0.113.9 198.51.100.1 1 2\r\n",
            b"PROXY TCP4 203.0.113.9 198.51.100.1 1 2\n\n\n\n\n\n",
            long.as_bytes(),
            b"PROXY",
        ];
        for bytes in cases {
            assert!(read(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
        for bytes in [
            second(0x11, 0x11, &[0; 12]),
            second(0x22, 0x11, &[0; 12]),
            second(0x21, 0x11, &[0; 11]),
            second(0x21, 0x21, &[0; 35]),
            second(0x21, 0x41, &[0; 36]),
            second(0x21, 0x11, &vec![0; PROXY_BYTES_MAX + 1]),
        ] {
            assert!(read(&bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fall_and_it_never_reads_past_its_bounds(
            version_two in any::<bool>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut whole = if version_two { SIGNATURE.to_vec() } else { b"PROXY ".to_vec() };
            whole.extend_from_slice(&bytes);
            if let Ok((_, taken)) = read(&whole) {
                prop_assert!(version_two || taken <= LINE_BYTES_MAX);
                prop_assert!(taken <= SIGNATURE.len() + 4 + PROXY_BYTES_MAX);
            }
        }

        #[test]
        fn every_address_comes_through(source in any::<[u8; 16]>(), port in any::<u16>(), four in any::<bool>()) {
            let source: IpAddr = if four {
                Ipv4Addr::new(source[0], source[1], source[2], source[3]).into()
            } else {
                Ipv6Addr::from(source).into()
            };
            let (family, other) = if four { ("TCP4", "192.0.2.1") } else { ("TCP6", "2001:db8::1") };
            let line = format!("PROXY {family} {source} {other} {port} 443\r\n");
            prop_assert_eq!(read(line.as_bytes()).unwrap().0, Some(SocketAddr::new(source, port)));
        }
    }
}
