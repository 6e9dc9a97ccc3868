//! The server that runs here, and what it says of itself. It is asked once; nothing is changed.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;
use waypost_domain::{Clock, UnixMillis};

use super::finding::Finding;
use super::reach::millis;
use super::speak::{Silence, exchange};
use crate::api_client::ApiClient;
use crate::cli::ServerArguments;
use crate::commands::query::escaped;
use crate::rendering::moment;
use crate::socket;

const CHECK: &str = "store";
/// How long the running server may take to answer one question.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(6);
/// How long a first certificate that is being got is waited for, and how often is looked.
const CERTIFICATE_TIME_MAX: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The code of a server whose names have not all a certificate.
const CERTIFICATE_AWAITED: &str = "certificate_awaited";
/// Of the metrics page, what is read.
const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The server in a data directory.
pub(super) enum Running {
    /// It answers.
    Yes(Box<Said>),
    /// None runs.
    No,
    /// One seems to run and does not answer.
    Mute(String),
}

/// What a running server says of itself.
pub(super) struct Said {
    /// Whether it is ready: how long it took to say so, or the code of why it is not.
    ready: Result<Duration, String>,
    /// Its lists, as its API shows them.
    pub(super) upstreams: Vec<Value>,
    pub(super) sources: Vec<Value>,
    pub(super) destinations: Vec<Value>,
    pub(super) routes: Vec<Value>,
    pub(super) certificates: Vec<Value>,
    /// Quarantined events by source; none where there are none.
    pub(super) quarantined: BTreeMap<String, u64>,
    /// Calls refused since it started because they were signed, and not with a secret of the source.
    pub(super) signatures_refused: BTreeMap<String, u64>,
    /// What it did not answer.
    unanswered: Vec<String>,
    api: ApiClient,
}

impl Running {
    /// Asks the server that serves this data directory, if one does.
    pub(super) async fn ask(data_dir: &Path, clock: &Clock) -> Self {
        let began = clock.monotonic();
        let is_ready = match ready(data_dir, clock).await {
            Ok(is_ready) => is_ready,
            Err(Deaf::Nobody) => return Self::No,
            Err(Deaf::Mute(what)) => return Self::Mute(what),
        };
        let here = ServerArguments { data: Some(data_dir.to_owned()), api: None, token: None };
        let api = match ApiClient::new(&here) {
            Ok(api) => api,
            Err(error) => return Self::Mute(format!("{error:#}")),
        };
        let mut said = Said {
            ready: is_ready,
            upstreams: Vec::new(),
            sources: Vec::new(),
            destinations: Vec::new(),
            routes: Vec::new(),
            certificates: Vec::new(),
            quarantined: BTreeMap::new(),
            signatures_refused: BTreeMap::new(),
            unanswered: Vec::new(),
            api,
        };
        said.upstreams = said.items("upstreams").await;
        said.sources = said.items("sources").await;
        said.destinations = said.items("destinations").await;
        said.routes = said.items("routes").await;
        said.certificates = said.items("certificates").await;
        // A server that was started a moment ago is getting its first certificate.
        while said.certificates.iter().any(is_being_got)
            && clock.monotonic().saturating_sub(began) < CERTIFICATE_TIME_MAX
        {
            tokio::time::sleep(LOOK_EVERY).await;
            said.certificates = said.items("certificates").await;
        }
        if !said.certificates.is_empty() && said.certificates.iter().all(|item| item["not_after"].is_string())
        {
            said.ready = ready(data_dir, clock).await.unwrap_or(said.ready);
        }
        match timeout(ANSWER_TIME_MAX, said.api.get_text("/metrics", PAGE_BYTES_MAX)).await {
            Ok(Ok(page)) => {
                said.quarantined = by_source(&page, "waypost_quarantined", |_| true);
                // An unsigned call is somebody's who only found the address.
                let is_signed = |others: &str| !others.contains("reason=\"missing\"");
                said.signatures_refused = by_source(&page, "waypost_signatures_refused_total", is_signed);
            }
            _ => said.unanswered.push("metrics".to_owned()),
        }
        Self::Yes(Box::new(said))
    }

    /// Whether a server holds the store and its ports.
    pub(super) fn is_there(&self) -> bool {
        !matches!(self, Self::No)
    }

    /// What it says, if it answers.
    pub(super) fn said(&self) -> Option<&Said> {
        match self {
            Self::Yes(said) => Some(said),
            Self::No | Self::Mute(_) => None,
        }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        match self {
            Self::No => vec![
                Finding::note(CHECK, "", "no server runs in this data directory")
                    .why("Receivers and sources that were made at run time, what is owed and what is quarantined are seen only while one runs")
                    .remedy("If one should: systemctl status waypost; or name its directory with --data"),
            ],
            Self::Mute(what) => vec![
                Finding::warning(
                    CHECK,
                    "",
                    format!("the server in this data directory cannot be asked: {what}"),
                )
                .why("Its store's health and its receivers are not known")
                .remedy("Run this command as the server's user, or as root"),
            ],
            Self::Yes(said) => said.findings(),
        }
    }
}

impl Said {
    async fn items(&mut self, what: &str) -> Vec<Value> {
        match timeout(ANSWER_TIME_MAX, self.api.items(&format!("/api/v1/{what}"))).await {
            Ok(Ok(items)) => items,
            _ => {
                self.unanswered.push(what.to_owned());
                Vec::new()
            }
        }
    }

    /// When the newest event of a source came; none where none is kept.
    ///
    /// # Errors
    ///
    /// When the server does not say.
    pub(super) async fn newest_event(
        &self,
        source: &str,
        now: UnixMillis,
    ) -> anyhow::Result<Option<UnixMillis>> {
        let page: Value = self.ask(&format!("/api/v1/events?limit=1&source={}", escaped(source))).await?;
        Ok(page["items"][0]["received_at"].as_str().and_then(|at| moment(at, now).ok()))
    }

    /// A page of the quarantined events of a source, the newest first, and what to ask on with.
    ///
    /// # Errors
    ///
    /// When the server does not say.
    pub(super) async fn quarantine(
        &self,
        source: &str,
        after: Option<&str>,
        limit: usize,
    ) -> anyhow::Result<Value> {
        let after = after.map(|after| format!("&after={}", escaped(after))).unwrap_or_default();
        self.ask(&format!("/api/v1/quarantine?limit={limit}&source={}{after}", escaped(source))).await
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        timeout(ANSWER_TIME_MAX, self.api.get(path)).await?
    }

    /// Whether HTTPS can only be refused as yet under some name.
    pub(super) fn awaits_certificate(&self) -> bool {
        self.ready.as_ref().is_err_and(|code| code == CERTIFICATE_AWAITED)
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = vec![match &self.ready {
            Ok(took) => Finding::ok(
                CHECK,
                "",
                format!("the running server can write, and said so in {}", millis(*took)),
            ),
            // Only a server whose store can write gets as far as this; the certificates are told one by one.
            Err(code) if code == CERTIFICATE_AWAITED => {
                Finding::ok(CHECK, "", "the running server can write")
            }
            Err(code) => Finding::fault(CHECK, "", format!("the running server is not ready: {code}"))
                .why("Meta is answered 503, and sends its events again for up to seven days")
                .remedy("docs/errors.md says what the code means; the server's log says more"),
        }];
        if !self.unanswered.is_empty() {
            let what = format!("the running server does not say: {}", self.unanswered.join(", "));
            findings.push(
                Finding::warning(CHECK, "", what).why("What follows leaves that out").remedy(
                    "See that server and command are of one version: an upgrade restarts the service",
                ),
            );
        }
        findings
    }
}

enum Deaf {
    Nobody,
    Mute(String),
}

/// Whether the server is ready, and how long it took to say so; else the code of why it is not.
async fn ready(data_dir: &Path, clock: &Clock) -> Result<Result<Duration, String>, Deaf> {
    let began = clock.monotonic();
    let (status, body) = ask(data_dir, "/readyz").await?;
    if status == StatusCode::OK {
        return Ok(Ok(clock.monotonic().saturating_sub(began)));
    }
    let said: Value = serde_json::from_slice(&body).unwrap_or_default();
    Ok(Err(said["code"].as_str().unwrap_or("without saying why").to_owned()))
}

/// Whether a certificate is not there yet, and its first attempt is under way.
fn is_being_got(item: &Value) -> bool {
    item["not_after"].is_null() && item["last_failure"].is_null() && item["busy"] == true
}

async fn ask(data_dir: &Path, path: &str) -> Result<(StatusCode, Bytes), Deaf> {
    let stream = socket::connect(data_dir).await.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Deaf::Mute(error.to_string()),
        _ => Deaf::Nobody,
    })?;
    let request = Request::builder().uri(path).header(HOST, "waypost").body(Full::new(Bytes::new()));
    let request = request.map_err(|error| Deaf::Mute(error.to_string()))?;
    match timeout(ANSWER_TIME_MAX, exchange(stream, request)).await {
        Ok(Ok((status, _, body))) => Ok((status, body)),
        Ok(Err(Silence::Cut(what))) => Err(Deaf::Mute(what)),
        Ok(Err(Silence::TooSlow)) | Err(_) => Err(Deaf::Mute("it does not answer in time".to_owned())),
    }
}

/// The samples of a metric above nought, added up by their first label, `source` (OpenMetrics 1.0, "Text Format"). Where
/// `further` says so, only those of whose other labels it holds.
fn by_source(page: &str, metric: &str, further: impl Fn(&str) -> bool) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for line in page.lines() {
        let sample = || {
            let (labels, value) = line.strip_prefix(metric)?.strip_prefix("{source=\"")?.rsplit_once("} ")?;
            let (source, others) = labels.split_once('"')?;
            let value: u64 = value.split(' ').next()?.parse().ok()?;
            (value > 0 && further(others)).then(|| (source.to_owned(), value))
        };
        if let Some((source, value)) = sample() {
            *sums.entry(source).or_default() += value;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_off_the_metrics_page_by_source() {
        let page = "# TYPE waypost_q gauge\nwaypost_q{source=\"a.example\"} 3\nwaypost_q{source=\"b\"} 0\nwaypost_q_more{source=\"c\"} 7\nwaypost_q{source=\"d\"} x\nwaypost_q{source=\"a.example\",reason=\"missing\"} 4\nwaypost_q\n# EOF\n";
        let all: Vec<_> = by_source(page, "waypost_q", |_| true).into_iter().collect();
        assert_eq!(all, [("a.example".to_owned(), 7)]);
        let missing: Vec<_> =
            by_source(page, "waypost_q", |others| others.contains("missing")).into_iter().collect();
        assert_eq!(missing, [("a.example".to_owned(), 4)]);
    }
}
