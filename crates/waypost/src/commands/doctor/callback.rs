//! A callback address, called as Meta calls it.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use waypost_domain::Clock;
use waypost_whatsapp::AppSecret;

use super::address::CallbackUrl;
use super::finding::{Finding, Report};
use super::handshake;
use super::posting;
use super::reach::{Private, Target, reach};
use super::speak::Way;
use super::trust::Trust;

/// Meta, in sentences.
pub(super) const META: &str = "Meta";

/// What is called, and with what.
pub(super) struct Callback {
    pub(super) url: CallbackUrl,
    pub(super) verify_token: Option<String>,
    pub(super) app_secret: Option<AppSecret>,
    /// Whether to post without a secret, and much.
    pub(super) post: bool,
    pub(super) at: Option<IpAddr>,
    pub(super) extra_roots: Vec<CertificateDer<'static>>,
}

/// Goes through everything Meta would meet.
///
/// # Errors
///
/// When this machine cannot even ask.
pub(super) async fn examine(callback: Callback, clock: &Clock, report: &mut Report) -> anyhow::Result<()> {
    let Callback { url, verify_token, app_secret, post, at, extra_roots } = callback;
    report.say(url.judge());
    let trust = Trust::new(&extra_roots)?;
    if !extra_roots.is_empty() {
        report.say([Finding::note("certificate", "", "--ca-file is believed too")
            .why("Meta believes public authorities only")]);
    }
    let target = Target {
        host: &url.host,
        port: url.port,
        at,
        name: url.is_https.then_some(url.host.as_str()),
        trust: &trust,
        caller: META,
        private: if at.is_some() { Private::Fine } else { Private::Unreachable },
    };
    let reached = reach(&target, clock).await;
    report.say(reached.findings);
    let ways = reached.good.into_iter().map(|address| Way {
        address,
        tls: url.is_https.then(|| (trust.verified.clone(), url.host.clone())),
        authority: url.authority.clone(),
    });
    let ways: Vec<Way> = ways.collect();
    let Some(first) = ways.first() else {
        report.say([Finding::note("handshake", "", "not tried: no address could be spoken to safely")
            .remedy("Mend what stands above, then run this command again")]);
        return Ok(());
    };
    handshake::wrong(&ways, &url.path_and_query, clock, report).await?;
    match verify_token {
        None => report.say([Finding::note("handshake", "", "the right token was not tried")
            .remedy("Give --verify-token to try the whole handshake")]),
        // A token is a secret: it is not said where everybody on the way can read it.
        Some(_) if !url.is_https && !url.is_loopback() => {
            report.say([Finding::note("handshake", "", "the right token was not tried over plain HTTP")]);
        }
        Some(token) => handshake::right(&ways, &url.path_and_query, &token, clock, report).await?,
    }
    if app_secret.is_some() || post {
        posting::examine(first, &url.path_and_query, app_secret.as_ref(), post, clock, report).await?;
    } else {
        report.say([Finding::note("post", "", "nothing was posted").remedy(
            "Give --app-secret to post a harmless signed test event, or --post to do so without one",
        )]);
    }
    Ok(())
}
