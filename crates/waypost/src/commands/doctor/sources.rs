//! The sources: whether Meta's handshake can succeed, whether callers must prove themselves, and whether anything came.

use waypost_domain::{Clock, UnixMillis};

use super::finding::Finding;
use super::running::{Running, Said};
use super::words::{age, number};
use crate::config::{Config, Mode};

const CHECK: &str = "source";
/// Sources that are looked at.
const SOURCES_MAX: usize = 1_000;
/// A source that is silent for longer is worth a look.
const SILENCE_MS: i64 = 24 * 3_600 * 1_000;

/// What is known of a source, or of an upstream, which is one too.
struct Source {
    name: String,
    is_upstream: bool,
    /// Whether the configuration has it: then it was judged with that.
    is_configured: bool,
    /// Whether events are kept here rather than passed through.
    stores: bool,
    verify_tokens: u64,
    app_secrets: u64,
    routes: u64,
}

/// Looks at every source: of the running server, else of the configuration.
pub(super) async fn examine(config: &Config, running: &Running, clock: &Clock) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut sources = match running.said() {
        Some(said) => of_server(said),
        None => of_configuration(config),
    };
    if sources.len() > SOURCES_MAX {
        findings.push(Finding::note(CHECK, "", format!("only the first {SOURCES_MAX} are looked at")));
        sources.truncate(SOURCES_MAX);
    }
    let now = clock.wall();
    for source in &sources {
        findings.extend(source.judge());
        if let Some(said) = running.said() {
            findings.push(heard(source, said, now).await);
        }
    }
    findings.extend(running.said().into_iter().flat_map(lost_routes));
    findings
}

fn of_server(said: &Said) -> Vec<Source> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let count = |value: &serde_json::Value| value.as_u64().unwrap_or_default();
    let upstreams = said.upstreams.iter().map(|item| Source {
        name: text(&item["host"]),
        is_upstream: true,
        is_configured: item["provision"] == "configuration",
        stores: item["mode"] == "store",
        verify_tokens: count(&item["verify_tokens"]),
        app_secrets: count(&item["app_secrets"]),
        routes: 1,
    });
    let sources = said.sources.iter().map(|item| Source {
        name: text(&item["name"]),
        is_upstream: false,
        is_configured: item["provision"] == "configuration",
        stores: true,
        verify_tokens: count(&item["verify_tokens"]),
        app_secrets: item["app_secrets"].as_array().map_or(0, |secrets| secrets.len() as u64),
        routes: count(&item["routes"]),
    });
    upstreams.chain(sources).collect()
}

fn of_configuration(config: &Config) -> Vec<Source> {
    let upstreams = config.upstreams.iter().map(|upstream| Source {
        name: upstream.host.as_str().to_owned(),
        is_upstream: true,
        is_configured: true,
        stores: upstream.mode == Mode::Store,
        verify_tokens: upstream.verify_tokens.len() as u64,
        app_secrets: upstream.app_secrets.len() as u64,
        routes: 1,
    });
    let sources = config.sources.iter().map(|source| Source {
        name: source.name.clone(),
        is_upstream: false,
        is_configured: true,
        stores: true,
        verify_tokens: source.verify_tokens.len() as u64,
        app_secrets: source.app_secrets.len() as u64,
        routes: config.routes.iter().filter(|route| route.source == source.name).count() as u64,
    });
    upstreams.chain(sources).collect()
}

impl Source {
    fn judge(&self) -> Vec<Finding> {
        let name = &self.name;
        let mut findings = Vec::new();
        if self.verify_tokens == 0 && !self.is_upstream {
            findings.push(
                Finding::warning(CHECK, name, "it has no verify token")
                    .why("Meta's handshake is refused, so the address cannot be saved in the App Dashboard")
                    .remedy(format!(
                        "`waypost source rotate {name} --verify-token` makes one and says it; in the configuration: verify_token"
                    )),
            );
        }
        if self.app_secrets == 0 && self.stores {
            findings.push(
                Finding::warning(CHECK, name, "its callers are not asked for proof: it has no app secret")
                    .why("Anybody who knows the address can have made-up messages kept and delivered")
                    .remedy(
                        "Write app_secrets = [\"env:META_APP_SECRET\"] (App Dashboard, App settings, Basic)",
                    ),
            );
        }
        if self.routes == 0 {
            findings.push(
                Finding::warning(CHECK, name, "no route takes its events")
                    .why("Whatever comes is quarantined: kept, and delivered to nobody")
                    .remedy(format!(
                        "`waypost route add {name} DESTINATION --all`, or [[route]] in the configuration"
                    )),
            );
        }
        if findings.is_empty() {
            let handshake = match self.verify_tokens {
                0 => "the receiver answers the handshake".to_owned(),
                tokens => number(tokens, "verify token"),
            };
            let proof = match self.app_secrets {
                0 => "no app secret: proof is the receiver's to ask for".to_owned(),
                secrets => number(secrets, "app secret"),
            };
            findings.push(Finding::ok(CHECK, name, format!("{handshake}, {proof}")));
        } else if self.is_configured {
            // Told already, with its place in the file.
            findings.clear();
        }
        findings
    }
}

/// Whether anything came, and whether anything was refused.
async fn heard(source: &Source, said: &Said, now: UnixMillis) -> Finding {
    let name = &source.name;
    let refused = said.signatures_refused.get(name).copied().unwrap_or(0);
    let newest = if source.stores { said.newest_event(name, now).await } else { Ok(None) };
    let newest = match newest {
        Ok(newest) => newest,
        Err(error) => {
            return Finding::note(CHECK, name, format!("whether anything came is not known: {error:#}"));
        }
    };
    if refused > 0 {
        let times = number(refused, "call");
        let what = format!("{times} refused since the server started: signed with another secret");
        let make = if newest.is_none() { Finding::fault } else { Finding::warning };
        return make(CHECK, name, what)
            .why("Meta signs with the secret of the app that calls, and gives an event up after seven days")
            .remedy("Compare with the App Dashboard, App settings, Basic, App secret; `waypost source rotate` or app_secrets sets another");
    }
    if !source.stores {
        return Finding::note(CHECK, name, "calls are passed through, and what comes is not kept");
    }
    match newest {
        None => Finding::note(CHECK, name, "nothing has come yet, or nothing that is still kept")
            .remedy("In the App Dashboard, see that the callback URL is saved, that the field `messages` is subscribed and that the app is live; `waypost trigger` sends a test event"),
        Some(at) if now.0.saturating_sub(at.0) > SILENCE_MS => {
            Finding::note(CHECK, name, format!("the newest event came {} ago", age(now, at)))
                .why("A number that is in use is rarely silent for so long")
                .remedy("Send the number a message; if nothing comes, run `waypost doctor` with its callback URL from another machine, and look at the App Dashboard")
        }
        Some(at) => Finding::ok(CHECK, name, format!("the newest event came {} ago", age(now, at))),
    }
}

/// Routes that lead nowhere.
fn lost_routes(said: &Said) -> Vec<Finding> {
    let lost = said.routes.iter().filter(|route| route["lost"].is_array());
    lost.map(|route| {
        let missing: Vec<&str> =
            route["lost"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
        Finding::warning(
            "route",
            route["name"].as_str().unwrap_or_default(),
            format!("names what is no longer there: {}", missing.join(", ")),
        )
        .why("What it would take goes nowhere by it")
        .remedy("Bring back what it names, or remove the route with `waypost route remove`")
    })
    .collect()
}
