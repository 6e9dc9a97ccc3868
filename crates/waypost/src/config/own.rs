//! Where this gateway itself is called, so that nothing it sends comes back to it.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use waypost_domain::Origin;

/// The gateway's own addresses, as far as they are known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Own {
    domains: Vec<String>,
    addresses: Vec<SocketAddr>,
}

/// Ports at which a domain is this gateway, whatever it listens on itself: something in front may end TLS.
const DOMAIN_PORTS: [u16; 2] = [80, 443];

impl Own {
    /// A gateway of these names that listens there. A port 0 is not known yet, and counts for nothing.
    pub(crate) fn new<'n>(
        domains: impl IntoIterator<Item = &'n str>,
        addresses: impl IntoIterator<Item = SocketAddr>,
    ) -> Self {
        let addresses = addresses.into_iter().filter(|address| address.port() != 0).collect();
        Self { domains: domains.into_iter().map(str::to_ascii_lowercase).collect(), addresses }
    }

    /// Why calls there would come back to this gateway, in a few words; `None` as far as can be told without
    /// looking names up.
    pub(crate) fn is(&self, origin: &Origin) -> Option<String> {
        let listens = |port| self.addresses.iter().any(|address| address.port() == port);
        if let Some(domain) = self.domains.iter().find(|domain| origin.host == **domain)
            && (DOMAIN_PORTS.contains(&origin.port) || listens(origin.port))
        {
            return Some(format!("{domain} is this gateway's own domain"));
        }
        let on_port = self.addresses.iter().filter(|address| address.port() == origin.port);
        let own = on_port.map(|address| (address, reaches(origin, address.ip())));
        own.filter(|(_, reaches)| *reaches)
            .map(|(address, _)| format!("this gateway itself listens on {address}"))
            .next()
    }
}

/// Whether the host leads to what listens on this address of this machine.
fn reaches(origin: &Origin, listening: IpAddr) -> bool {
    let listening = canonical(listening);
    let Some(called) = origin.address().map(canonical) else {
        let is_local = origin.host == "localhost" || origin.host.ends_with(".localhost");
        return is_local && (listening.is_loopback() || listening.is_unspecified());
    };
    // A call to the unspecified address is a call to this machine.
    if called.is_unspecified() {
        return listening.is_loopback() || listening.is_unspecified();
    }
    called == listening
        || (listening.is_unspecified() && (called.is_loopback() || is_of_this_machine(called)))
}

/// IPv4 in IPv6 is IPv4.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Only an address of this machine can be bound.
fn is_of_this_machine(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(domain: Option<&str>, addresses: &[&str]) -> Own {
        Own::new(domain, addresses.iter().map(|address| address.parse().unwrap()))
    }

    #[test]
    fn a_call_to_oneself_is_recognised_however_it_is_written() {
        let everywhere = own(Some("Proxy.example.com"), &["0.0.0.0:8443"]);
        for text in [
            "https://proxy.example.com",
            "http://proxy.example.com",
            "https://proxy.example.com:8443",
            "https://127.0.0.1:8443",
            "https://127.9.9.9:8443",
            "https://localhost:8443",
            "https://[::ffff:127.0.0.1]:8443",
            "https://0.0.0.0:8443",
        ] {
            assert!(everywhere.is(&text.parse().unwrap()).is_some(), "{text}");
        }
        for text in [
            "https://proxy.example.com:3000",
            "https://127.0.0.1:3000",
            "https://192.0.2.7:8443",
            "https://a.example",
        ] {
            assert!(everywhere.is(&text.parse().unwrap()).is_none(), "{text}");
        }
        let here = own(None, &["127.0.0.1:8080", "[::1]:8081", "127.0.0.1:0"]);
        for (text, is) in [
            ("http://127.0.0.1:8080", true),
            ("http://localhost:8080", true),
            ("http://[::1]:8081", true),
            ("http://127.0.0.2:8080", false),
            ("http://[::1]:8080", false),
            ("http://127.0.0.1:9", false),
        ] {
            assert_eq!(here.is(&text.parse().unwrap()).is_some(), is, "{text}");
        }
    }
}
