//! This server, examined where it runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::timeout;
use waypost_domain::Clock;
use waypost_outbound::address::is_public;

use super::finding::{Finding, Report, Severity};
use super::reach::{Private, Target, reach};
use super::running::{Running, Said};
use super::trust::Trust;
use super::{chain, clock as watch, disk, owed, ports, receivers, renewal, sources, store};
use crate::config::{self, Config, Inputs, Tls};
use crate::exit::Exit;

/// How long the name may take to resolve.
const LOOKUP_TIME_MAX: Duration = Duration::from_secs(5);
/// Largest certificate file that is read.
const CERTIFICATE_BYTES_MAX: u64 = 1024 * 1024;

/// Goes through all of it.
///
/// # Errors
///
/// When this machine cannot even ask.
pub(super) async fn examine(
    inputs: Inputs,
    extra_roots: &[CertificateDer<'static>],
    clock: &Clock,
    mut report: Report,
) -> anyhow::Result<Exit> {
    let began = watch::Moment::of(clock);
    let config = match tokio::task::spawn_blocking(move || config::load(&inputs)).await? {
        Ok(loaded) => {
            report.say(loaded.warnings.iter().map(|finding| of_config(finding, Finding::warning)));
            loaded.config
        }
        Err(refused) => {
            report.say(refused.faults.iter().map(|finding| of_config(finding, Finding::fault)));
            report.say(refused.warnings.iter().map(|finding| of_config(finding, Finding::warning)));
            report.conclude();
            return Ok(Exit::WrongConfiguration);
        }
    };
    let number = config.upstreams.len() + config.destinations.len();
    report.say([Finding::ok("config", "", format!("the configuration stands; receivers in it: {number}"))]);
    let running = Running::ask(&config.data_dir, clock).await;
    report.say(running.findings());
    if !running.is_there() {
        report.say([store::at_rest(&config.storage.path)]);
    }
    report.say(disk::examine(&config));
    report.say(ports::examine(&config, running.is_there()).await);
    for domain in &config.server.domains {
        report.say(name_leads_here(domain, &config).await);
    }
    if let Some(said) = running.said() {
        report.say(renewal::examine(said, clock));
    }
    report.say(sources::examine(&config, &running, clock).await);
    if let Some(said) = running.said() {
        report.say(owed::examine(said, clock).await);
    }
    match Trust::new(extra_roots) {
        Ok(trust) => {
            // Without a certificate there is nothing to look at, and that was told.
            if !running.said().is_some_and(Said::awaits_certificate) {
                report.say(certificate(&config, running.is_there(), &trust, clock).await);
            }
            report.say(receivers::examine(&config, &running, &trust, extra_roots, clock).await?);
        }
        Err(error) => report.say([Finding::fault("certificate", "", format!("{error:#}"))
            .why("No receiver can be called over HTTPS")
            .remedy("Install the Debian package ca-certificates")]),
    }
    report.say(watch::examine(began, clock, &config));
    Ok(report.conclude())
}

fn of_config(finding: &config::Finding, make: fn(&'static str, String, String) -> Finding) -> Finding {
    let place = finding.place.to_string();
    let made = make("config", place.trim_end_matches([':', ' ']).to_owned(), finding.what.clone());
    let why = match made.severity {
        Severity::Fault => "Waypost does not start with it; one that runs goes on with what it had",
        _ => "It is allowed, and probably not meant",
    };
    made.why(why).remedy(&finding.remedy)
}

/// Whether the name in the callback address leads to this machine.
async fn name_leads_here(domain: &str, config: &Config) -> Vec<Finding> {
    const CHECK: &str = "dns";
    let lookup = timeout(LOOKUP_TIME_MAX, tokio::net::lookup_host((domain, 443))).await;
    let mut found: Vec<IpAddr> = match lookup {
        Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
        Ok(Err(error)) => {
            return vec![unresolved(CHECK, domain, &format!("the name does not resolve: {error}"))];
        }
        Err(_) => {
            return vec![unresolved(CHECK, domain, "the resolver did not answer in time")];
        }
    };
    found.dedup();
    let (ours, others): (Vec<_>, Vec<_>) = found.iter().partition(|address| is_ours(**address));
    let listed = |addresses: &[&IpAddr]| {
        addresses.iter().map(|address| address.to_string()).collect::<Vec<_>>().join(", ")
    };
    let mut findings = Vec::new();
    if others.is_empty() {
        findings.push(Finding::ok(CHECK, domain, format!("leads to this machine: {}", listed(&ours))));
    } else if let Some(outward) = outward_address().filter(|address| ours.is_empty() && !is_public(*address))
    {
        findings.push(
            Finding::note(
                CHECK,
                domain,
                format!(
                    "leads to {}; this machine's own address is {outward}, so something in front translates",
                    listed(&others)
                ),
            )
            .why("Whether that name leads here cannot be told from here")
            .remedy(format!("Run `waypost doctor https://{domain}/…` from somewhere else")),
        );
    } else {
        let partly = if ours.is_empty() { "" } else { "also " };
        let finding = Finding::new(
            if ours.is_empty() { Severity::Fault } else { Severity::Warning },
            CHECK,
            domain,
            format!("{partly}leads to {}, which is no address of this machine", listed(&others)),
        );
        findings.push(
            finding
                .why("Meta's calls, and those of the authority that gives certificates, go there")
                .remedy("Point the name's A and AAAA records to this machine, and wait for the former answer's time to pass"),
        );
    }
    let six = found.iter().any(IpAddr::is_ipv6);
    let listens_on_six = config.server.https.iter().any(SocketAddr::is_ipv6);
    if six && !config.server.https.is_empty() && !listens_on_six {
        findings.push(
            Finding::fault(CHECK, domain, "the name has an AAAA record, and HTTPS listens on no IPv6 address")
                .why("Meta calls over IPv6 where there is an AAAA record, and gets no answer")
                .remedy("Write https = [\"0.0.0.0:443\", \"[::]:443\"] under [server] (and http likewise), or remove the AAAA record"),
        );
    }
    findings
}

fn unresolved(check: &'static str, domain: &str, what: &str) -> Finding {
    Finding::fault(check, domain, what)
        .why("Meta finds no address to call, and no authority gives a certificate for the name")
        .remedy("Make an A record with this machine's IPv4 address")
}

/// Whether an address is this machine's own: only such can be bound.
fn is_ours(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// The address that this machine has towards the internet. Nothing is sent: a datagram socket only looks up its route.
fn outward_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // Of the range for documentation (RFC 5737), which is routed as the rest of the internet.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The certificate: as a client is shown it by the running server, else as its file has it.
async fn certificate(config: &Config, running: bool, trust: &Trust, clock: &Clock) -> Vec<Finding> {
    const CHECK: &str = "certificate";
    if config.server.https.is_empty() {
        return vec![
            Finding::note(CHECK, "", "no HTTPS is served here")
                .why("Meta calls nothing but HTTPS, so something in front must end TLS")
                .remedy("Examine the public address with `waypost doctor https://…`"),
        ];
    }
    let name = config.server.domain();
    if running {
        let Some(name) = name else {
            return vec![Finding::note(
                CHECK,
                "",
                "no domain is configured, so the certificate's name is not known",
            )];
        };
        let mut findings = Vec::new();
        for address in config.server.https.iter().filter(|address| address.port() != 0) {
            let target = Target {
                host: name,
                port: address.port(),
                at: Some(local(*address)),
                name: Some(name),
                trust,
                caller: "Meta",
                private: Private::Fine,
            };
            let reached = reach(&target, clock).await;
            findings.extend(reached.findings.into_iter().filter(|finding| finding.check != "dns"));
        }
        return findings;
    }
    let Some(Tls::Files(files)) = &config.tls else {
        return vec![
            Finding::note(CHECK, "", "it is got when the server runs").remedy("Start it, then ask again"),
        ];
    };
    let path = files.certificate.display().to_string();
    let is_small =
        std::fs::metadata(&files.certificate).is_ok_and(|file| file.len() <= CERTIFICATE_BYTES_MAX);
    let read = if is_small { std::fs::read(&files.certificate).ok() } else { None };
    let chain = read.and_then(|pem| CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().ok());
    match (chain, name) {
        (Some(chain), Some(name)) => chain::judge(&chain, name, &path, trust, clock.wall(), "Meta"),
        (Some(_), None) => {
            vec![Finding::note(CHECK, path, "no domain is configured, so its name is not known")]
        }
        (None, _) => vec![
            Finding::fault(CHECK, path, "it cannot be read")
                .why("HTTPS cannot be served without it")
                .remedy("Name a PEM file with the whole chain"),
        ],
    }
}

/// Where a listener can be reached from this machine.
pub(super) fn local(address: SocketAddr) -> IpAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machines_addresses_are_told_from_others() {
        assert!(is_ours(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_ours(Ipv4Addr::new(192, 0, 2, 1).into()));
    }
}
