//! The receivers: whether each can be reached as the gateway would reach it. Nothing is said to them.

use std::path::Path;

use http::Uri;
use rustls::pki_types::CertificateDer;
use tokio::task::JoinSet;
use waypost_domain::{Clock, Origin, Scheme, UpstreamHost};
use waypost_outbound::read_ca_file;

use super::finding::Finding;
use super::reach::{Private, Target, reach};
use super::running::Running;
use super::trust::Trust;
use crate::config::{CaFile, Config};

const CHECK: &str = "receiver";
/// Receivers that are looked at.
const RECEIVERS_MAX: usize = 1_000;
/// Of them at once.
const AT_ONCE: usize = 8;

/// A receiver to reach.
struct Receiver {
    name: String,
    origin: Origin,
    /// The name in its certificate.
    certificate_name: String,
    allow_private: bool,
    roots: Vec<CertificateDer<'static>>,
}

/// Looks at every receiver of the configuration, and at those the running server has besides.
///
/// # Errors
///
/// When there is nobody to believe.
pub(super) async fn examine(
    config: &Config,
    running: &Running,
    trust: &Trust,
    extra_roots: &[CertificateDer<'static>],
    clock: &Clock,
) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut receivers = configured(config);
    for item in running.said().iter().flat_map(|said| &said.destinations) {
        match of_item(item) {
            Ok(Some(added)) if receivers.iter().any(|known| known.name == added.name) => drop(added),
            Ok(Some(added)) => receivers.push(added),
            Ok(None) => {}
            Err(finding) => findings.push(finding),
        }
    }
    if receivers.is_empty() {
        findings
            .push(Finding::note(CHECK, "", "there is none").why("Whatever comes is answered 403").remedy(
            "Allow one: `waypost upstream add HOST`, or [[upstream]] or [[destination]] in the configuration",
        ));
    }
    if receivers.len() > RECEIVERS_MAX {
        findings.push(Finding::note(CHECK, "", format!("only the first {RECEIVERS_MAX} are looked at")));
        receivers.truncate(RECEIVERS_MAX);
    }
    let (mut waiting, mut under_way) = (receivers.into_iter().enumerate(), JoinSet::new());
    let mut done = Vec::new();
    loop {
        while under_way.len() < AT_ONCE
            && let Some((index, receiver)) = waiting.next()
        {
            let trust = if receiver.roots.is_empty() {
                trust.clone()
            } else {
                Trust::new(&[receiver.roots.as_slice(), extra_roots].concat())?
            };
            let clock = clock.clone();
            under_way.spawn(async move { (index, look(&receiver, &trust, &clock).await) });
        }
        match under_way.join_next().await {
            Some(looked) => done.push(looked?),
            None => break,
        }
    }
    done.sort_by_key(|(index, _)| *index);
    findings.extend(done.into_iter().flat_map(|(_, findings)| findings));
    Ok(findings)
}

fn configured(config: &Config) -> Vec<Receiver> {
    let roots = |file: &Option<CaFile>| file.as_ref().map(|file| file.roots.clone()).unwrap_or_default();
    let upstreams = config.upstreams.iter().map(|upstream| Receiver {
        name: upstream.host.as_str().to_owned(),
        origin: upstream.origin.clone(),
        certificate_name: bare(&upstream.host),
        allow_private: upstream.allow_private,
        roots: roots(&upstream.ca_file),
    });
    let destinations = config.destinations.iter().map(|destination| Receiver {
        name: destination.name.clone(),
        origin: destination.url.origin.clone(),
        certificate_name: bare(&destination.url.host),
        allow_private: destination.allow_private,
        roots: roots(&destination.ca_file),
    });
    upstreams.chain(destinations).collect()
}

/// A receiver as the API shows it: an upstream, whose name is its host, or a destination, whose address says it; none where
/// the item says neither.
///
/// # Errors
///
/// The finding, where the file of authorities that it is to be believed by cannot be read.
fn of_item(item: &serde_json::Value) -> Result<Option<Receiver>, Finding> {
    let Some(mut receiver) = shown(item) else { return Ok(None) };
    if let Some(path) = item["ca_file"].as_str() {
        receiver.roots = read_ca_file(Path::new(path)).map_err(|error| {
            Finding::warning(CHECK, &receiver.name, format!("its ca_file cannot be read: {error:#}"))
                .why("Deliveries go on with what the server read when it started, and no more after its next start")
                .remedy(format!("Put the file back at {path}, readable by this user and the server's"))
        })?;
    }
    Ok(Some(receiver))
}

fn shown(item: &serde_json::Value) -> Option<Receiver> {
    let name = item["name"].as_str()?;
    let url: Uri = item["url"].as_str()?.parse().ok()?;
    let origin: Origin = format!("{}://{}", url.scheme_str()?, url.authority()?).parse().ok()?;
    let host =
        if item["upstream"] == true { name.parse().ok()? } else { url.authority()?.as_str().parse().ok()? };
    Some(Receiver {
        name: name.to_owned(),
        origin,
        certificate_name: bare(&host),
        allow_private: item["allow_private"].as_bool()?,
        roots: Vec::new(),
    })
}

fn bare(host: &UpstreamHost) -> String {
    host.name().trim_start_matches('[').trim_end_matches(']').to_owned()
}

async fn look(receiver: &Receiver, trust: &Trust, clock: &Clock) -> Vec<Finding> {
    let Receiver { name, origin, certificate_name, allow_private, .. } = receiver;
    let target = Target {
        host: &origin.host,
        port: origin.port,
        at: None,
        name: (origin.scheme == Scheme::Https).then_some(certificate_name.as_str()),
        trust,
        caller: "Waypost",
        private: if *allow_private { Private::Fine } else { Private::Refused },
    };
    let reached = reach(&target, clock).await;
    let mut findings: Vec<Finding> = reached
        .findings
        .into_iter()
        .map(|finding| Finding {
            subject: match finding.subject.as_str() {
                "" => name.clone(),
                subject if subject == name => name.clone(),
                subject => format!("{name} {subject}"),
            },
            ..finding
        })
        .collect();
    if reached.good.is_empty() {
        findings.push(
            Finding::fault(CHECK, name, "cannot be delivered to")
                .why("What is owed to it waits; nothing is lost")
                .remedy("Mend what stands above"),
        );
    } else {
        findings.push(Finding::ok(CHECK, name, "can be connected to"));
    }
    findings
}
