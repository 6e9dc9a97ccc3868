//! The way to a server, step by step: its name, each of its addresses, TCP, TLS, the certificate.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use waypost_domain::Clock;
use waypost_outbound::address::is_public;

use super::chain;
use super::finding::Finding;
use super::trust::Trust;
use crate::certificate::looking;

/// How long one step may take.
const STEP_TIME_MAX: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// A server to reach.
pub(super) struct Target<'a> {
    /// What is looked up: a name, or an address without brackets.
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// An address to take instead of looking the host up.
    pub(super) at: Option<IpAddr>,
    /// The name its certificate must be for; none for plain HTTP.
    pub(super) name: Option<&'a str>,
    pub(super) trust: &'a Trust,
    /// Who calls it in earnest.
    pub(super) caller: &'static str,
    /// What addresses that are not public mean.
    pub(super) private: Private,
}

/// What addresses that are not public mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Private {
    /// The caller in earnest does not get there.
    Unreachable,
    /// The gateway refuses to call them.
    Refused,
    /// Nothing.
    Fine,
}

/// What became of it.
pub(super) struct Reached {
    pub(super) findings: Vec<Finding>,
    /// The addresses that may be spoken to: connected, and shown a certificate that is believed.
    pub(super) good: Vec<SocketAddr>,
}

/// Goes the whole way to each address.
pub(super) async fn reach(target: &Target<'_>, clock: &Clock) -> Reached {
    let mut reached = Reached { findings: Vec::new(), good: Vec::new() };
    let Some(addresses) = addresses(target, &mut reached.findings).await else { return reached };
    let mut shown: Option<Vec<CertificateDer<'static>>> = None;
    for ip in addresses {
        let address = SocketAddr::new(ip, target.port);
        let (connected, findings) = connect(target, address, clock).await;
        reached.findings.extend(findings);
        if !connected {
            continue;
        }
        let Some(name) = target.name else {
            reached.good.push(address);
            continue;
        };
        let before = shown.as_deref();
        match secure(target, address, name, before, clock).await {
            Secured::Believed(findings, seen) => {
                reached.findings.extend(findings);
                reached.good.push(address);
                shown = Some(seen);
            }
            Secured::Doubted(findings) => reached.findings.extend(findings),
        }
    }
    reached
}

async fn addresses(target: &Target<'_>, findings: &mut Vec<Finding>) -> Option<Vec<IpAddr>> {
    const CHECK: &str = "dns";
    let Target { host, caller, .. } = *target;
    if let Some(at) = target.at {
        findings.push(Finding::note(CHECK, host, format!("not asked: {at} is taken instead")));
        return Some(vec![at]);
    }
    let found = match timeout(STEP_TIME_MAX, tokio::net::lookup_host((host, target.port))).await {
        Ok(Ok(found)) => found.map(|address| address.ip()).collect::<Vec<_>>(),
        Ok(Err(error)) => {
            findings.push(
                Finding::fault(CHECK, host, format!("the name does not resolve: {error}"))
                    .why(format!("{caller} finds no address to connect to"))
                    .remedy("Make an A record with the server's IPv4 address, and wait for the former answer's time to pass"),
            );
            return None;
        }
        Err(_) => {
            findings.push(
                Finding::fault(
                    CHECK,
                    host,
                    format!("the resolver did not answer within {} s", STEP_TIME_MAX.as_secs()),
                )
                .why("Whatever the name leads to, it takes too long to find out")
                .remedy("Look at /etc/resolv.conf and at the name's own servers"),
            );
            return None;
        }
    };
    let mut distinct: Vec<IpAddr> = Vec::new();
    for address in found {
        if !distinct.contains(&address) && distinct.len() < ADDRESSES_MAX {
            distinct.push(address);
        }
    }
    if distinct.is_empty() {
        findings.push(
            Finding::fault(CHECK, host, "the name has no address")
                .why(format!("{caller} finds nothing to connect to"))
                .remedy("Make an A record"),
        );
        return None;
    }
    let listed = distinct.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
    if host.parse::<IpAddr>().is_err() {
        let families = match (distinct.iter().any(IpAddr::is_ipv4), distinct.iter().any(IpAddr::is_ipv6)) {
            (true, true) => "A and AAAA",
            (true, false) => "A",
            _ => "AAAA only",
        };
        findings.push(Finding::ok(CHECK, host, format!("{families}: {listed}")));
    }
    let closed: Vec<String> =
        distinct.iter().filter(|address| !is_public(**address)).map(IpAddr::to_string).collect();
    if !closed.is_empty() {
        let what = format!("{} is no public address", closed.join(", "));
        match target.private {
            Private::Fine => {}
            Private::Unreachable => findings.push(
                Finding::warning(CHECK, host, what)
                    .why(format!(
                        "{caller} cannot reach it; what follows is as seen from inside your network"
                    ))
                    .remedy("Run this command from outside, or let the name lead to a public address"),
            ),
            Private::Refused => {
                findings.push(
                    Finding::fault(CHECK, host, what)
                        .why("Receivers at private addresses are called only where that was allowed, lest a name be turned against your own network")
                        .remedy("Write the receiver's `origin`, or `allow_private = true`"),
                );
                distinct.retain(|address| is_public(*address));
            }
        }
    }
    Some(distinct)
}

/// Whether there is a connection, and what was found.
async fn connect(target: &Target<'_>, address: SocketAddr, clock: &Clock) -> (bool, Option<Finding>) {
    const CHECK: &str = "tcp";
    let subject = address.to_string();
    let caller = target.caller;
    let began = clock.monotonic();
    match timeout(STEP_TIME_MAX, TcpStream::connect(address)).await {
        Ok(Ok(_)) => {
            let took = clock.monotonic().saturating_sub(began);
            (true, Some(Finding::ok(CHECK, subject, format!("connected in {}", millis(took)))))
        }
        Ok(Err(error)) if address.is_ipv6() && is_without_way(&error) => (
            false,
            Some(
                Finding::note(
                    CHECK,
                    subject,
                    format!("not tried: this machine has no way to IPv6 ({error})"),
                )
                .why("Meta calls over IPv6 where a name has an AAAA record, so it must work")
                .remedy("Run this command from a machine with IPv6"),
            ),
        ),
        Ok(Err(error)) => {
            let finding = Finding::fault(CHECK, subject, format!("no connection: {error}"));
            (false, Some(because(finding, address, caller)))
        }
        Err(_) => {
            let what = format!("no connection within {} s", STEP_TIME_MAX.as_secs());
            (false, Some(because(Finding::fault(CHECK, subject, what), address, caller)))
        }
    }
}

fn because(finding: Finding, address: SocketAddr, caller: &str) -> Finding {
    if address.is_ipv6() {
        return finding
            .why(format!("{caller} calls over IPv6 where a name has an AAAA record, and then gets no answer"))
            .remedy("Let the server listen on this address too, open it in the firewall, or remove the AAAA record");
    }
    finding
        .why(format!("{caller} gets no answer either"))
        .remedy("See that the server runs and listens on this address, and that no firewall or provider stands before it")
}

/// Whether an error says that there is no route from here (`ENETUNREACH`, `EADDRNOTAVAIL`, `EAFNOSUPPORT`).
fn is_without_way(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::AddrNotAvailable)
        || error.raw_os_error() == Some(97)
}

enum Secured {
    /// The certificate is believed; what it was.
    Believed(Vec<Finding>, Vec<CertificateDer<'static>>),
    Doubted(Vec<Finding>),
}

/// Looks at TLS at an address. A chain that was judged before is not judged again.
async fn secure(
    target: &Target<'_>,
    address: SocketAddr,
    name: &str,
    before: Option<&[CertificateDer<'static>]>,
    clock: &Clock,
) -> Secured {
    const CHECK: &str = "tls";
    let subject = address.to_string();
    let caller = target.caller;
    let began = clock.monotonic();
    let seen = match look(address, name, &[b"http/1.1"], &[&TLS13, &TLS12]).await {
        Ok(seen) => seen,
        Err(what) => {
            return Secured::Doubted(vec![
                Finding::fault(CHECK, subject, format!("no TLS: {what}"))
                    .why(format!("{caller} gets no further than this"))
                    .remedy("See that this port speaks TLS 1.2 or 1.3 with modern ciphers, knows this name, and asks for no client certificate that the caller lacks"),
            ]);
        }
    };
    let took = clock.monotonic().saturating_sub(began);
    let mut findings = Vec::new();
    // Each of these is a question of its own, and no answer to it is no fault.
    let only_12 = look(address, name, &[b"http/1.1"], &[&TLS12]).await.is_ok();
    let both = look(address, name, &[b"h2", b"http/1.1"], &[&TLS13, &TLS12]).await;
    let h2 = both.is_ok_and(|seen| seen.alpn.as_deref() == Some(b"h2"));
    let versions = match (seen.version, only_12) {
        ("1.3", true) => "TLS 1.3 and 1.2",
        ("1.3", false) => "TLS 1.3",
        _ => "TLS 1.2",
    };
    let http = if h2 { "HTTP/1.1 and HTTP/2" } else { "HTTP/1.1" };
    findings.push(Finding::ok(CHECK, &subject, format!("{versions}, {http}, in {}", millis(took))));
    match versions {
        "TLS 1.3" => findings.push(
            Finding::note(CHECK, &subject, "TLS 1.2 is not offered")
                .why("Meta does not say which versions it speaks; both are safe to offer"),
        ),
        "TLS 1.2" => findings.push(Finding::note(CHECK, &subject, "TLS 1.3 is not offered")),
        _ => {}
    }
    if before == Some(&seen.chain) {
        findings.push(Finding::ok("certificate", &subject, "the same certificate as at the other address"));
        return Secured::Believed(findings, seen.chain);
    }
    let judged = chain::judge(&seen.chain, name, &subject, target.trust, clock.wall(), caller);
    let refused = judged.iter().any(|finding| finding.severity == super::finding::Severity::Fault);
    findings.extend(judged);
    if refused { Secured::Doubted(findings) } else { Secured::Believed(findings, seen.chain) }
}

/// What a TLS handshake showed.
struct Seen {
    chain: Vec<CertificateDer<'static>>,
    version: &'static str,
    alpn: Option<Vec<u8>>,
}

async fn look(
    address: SocketAddr,
    name: &str,
    alpn: &[&[u8]],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Result<Seen, String> {
    let config = looking(alpn, versions).map_err(|error| error.to_string())?;
    let stream = dial(address, Some((config, name))).await?;
    let Line::Tls(stream) = stream else { return Err("no TLS was spoken".to_owned()) };
    let session = stream.get_ref().1;
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
        _ => "1.2",
    };
    let chain = session.peer_certificates().unwrap_or_default();
    let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
    Ok(Seen { chain, version, alpn: session.alpn_protocol().map(<[u8]>::to_vec) })
}

/// An open connection.
pub(super) enum Line {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// Connects to an address, with TLS where a configuration and a name are given.
pub(super) async fn dial(
    address: SocketAddr,
    tls: Option<(Arc<ClientConfig>, &str)>,
) -> Result<Line, String> {
    let too_slow = |_| format!("nothing within {} s", STEP_TIME_MAX.as_secs());
    let stream = timeout(STEP_TIME_MAX, TcpStream::connect(address)).await.map_err(too_slow)?;
    let stream = stream.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let Some((config, name)) = tls else { return Ok(Line::Plain(stream)) };
    let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
    let handshake = TlsConnector::from(config).connect(name, stream);
    let stream = timeout(STEP_TIME_MAX, handshake).await.map_err(too_slow)?;
    Ok(Line::Tls(Box::new(stream.map_err(|error| error.to_string())?)))
}

/// A duration for people.
pub(super) fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}
