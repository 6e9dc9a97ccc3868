//! `route test`: where the events of a payload would go, and why. Nothing is kept or sent.

use std::sync::Arc;

use serde_json::{Value, json};
use waypost_domain::{Facts, Match, UnixMillis};
use waypost_engine::routing::{Batches, Recipient, Routing, facts};
use waypost_store::Covers;
use waypost_whatsapp::{Event, split};

use crate::config::{self, Config};
use crate::registry::Table;
use crate::rendering::time;

/// Routes that did not take an event and are told all the same: the first ones.
const REFUSING_SHOWN_MAX: usize = 20;

/// The routes of one source.
pub(crate) struct Rules {
    source: String,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    wanted: Match,
    to: Vec<(String, Batches)>,
}

impl Rules {
    /// Those of a source of a configuration, of an upstream, or of all sources where nobody says which.
    ///
    /// # Errors
    ///
    /// When there is no such source: one sentence.
    pub(crate) fn of_config(config: &Config, source: Option<&str>) -> Result<Vec<Self>, String> {
        let batches = |name: &str| {
            let destination = config.destinations.iter().find(|destination| destination.name == name);
            destination.map_or(Batches::Split, |destination| of(destination.batches))
        };
        let sources = config.sources.iter().map(|source| {
            let routes = (0..).zip(&config.routes).filter(|(_, route)| route.source == source.name);
            let rows = routes.map(|(place, route): (usize, _)| Row {
                name: route.name.clone().unwrap_or_else(|| format!("route[{place}]")),
                wanted: route.wanted.clone(),
                to: route.to.iter().map(|name| (name.clone(), batches(name))).collect(),
            });
            Self { source: source.name.clone(), rows: rows.collect() }
        });
        let upstreams = config
            .upstreams
            .iter()
            .map(|upstream| Self::of_upstream(upstream.host.as_str(), upstream.batches));
        chosen(sources.collect(), upstreams, source)
    }

    /// The same of what is at work.
    ///
    /// # Errors
    ///
    /// When there is no such source: one sentence.
    pub(crate) fn of_table(table: &Table, source: Option<&str>) -> Result<Vec<Self>, String> {
        let batches = |name: &str| {
            let destination = table.destination(name)?;
            Some((name.to_owned(), of(destination.settings.batches)))
        };
        let sources = table.sources().map(|source| {
            let routes = table.routes().iter().filter(|route| *route.settings.source == *source.name);
            let rows = routes.map(|route| Row {
                name: route.name.to_string(),
                wanted: route.settings.wanted.clone(),
                to: route.settings.to.iter().filter_map(|name| batches(name)).collect(),
            });
            Self { source: source.name.to_string(), rows: rows.collect() }
        });
        let upstreams =
            table.upstreams().map(|upstream| Self::of_upstream(&upstream.name, upstream.settings.batches));
        chosen(sources.collect(), upstreams, source)
    }

    fn of_upstream(host: &str, batches: config::Batches) -> Self {
        let to = vec![(host.to_owned(), of(batches))];
        let row = Row { name: "upstream".to_owned(), wanted: Match::everything(), to };
        Self { source: host.to_owned(), rows: vec![row] }
    }
}

fn chosen(
    mut sources: Vec<Rules>,
    upstreams: impl Iterator<Item = Rules>,
    wanted: Option<&str>,
) -> Result<Vec<Rules>, String> {
    let Some(wanted) = wanted else {
        if sources.is_empty() {
            sources.extend(upstreams);
        }
        return match sources.is_empty() {
            true => Err("there is no source; a payload comes to one".to_owned()),
            false => Ok(sources),
        };
    };
    let found = sources.into_iter().chain(upstreams).find(|rules| rules.source == wanted);
    found.map(|rules| vec![rules]).ok_or_else(|| format!("there is no source `{wanted}`"))
}

fn of(batches: config::Batches) -> Batches {
    match batches {
        config::Batches::Whole => Batches::Whole,
        config::Batches::Split => Batches::Split,
    }
}

/// Each event of a body with where it would go: for each set of rules, in the order of the body.
pub(crate) fn explain(body: &[u8], rules: &[Rules]) -> Vec<Value> {
    let split = split(body);
    let mut explained = Vec::new();
    for Rules { source, rows } in rules {
        let routing = Routing::new(rows.iter().map(|row| {
            let recipients = row.to.iter().map(|(name, batches)| {
                Arc::new(Recipient { name: name.as_str().into(), destination: (), batches: *batches })
            });
            (row.wanted.clone(), recipients.collect::<Vec<_>>())
        }));
        let plan = routing.plan(split.events.iter().map(facts));
        // Of each event, who gets it and in what form.
        let mut forms: Vec<Vec<(Arc<str>, &str)>> = vec![Vec::new(); split.events.len()];
        for (recipient, covers) in &plan.owed {
            match covers {
                Covers::Request => {
                    forms.iter_mut().for_each(|forms| forms.push((recipient.name.clone(), "whole")));
                }
                Covers::Event(event) => {
                    if let Some(forms) = forms.get_mut(*event as usize) {
                        forms.push((recipient.name.clone(), "event"));
                    }
                }
            }
        }
        for ((event, forms), quarantined) in split.events.iter().zip(&forms).zip(&plan.quarantined) {
            let mut view = event_view(event);
            let names: Vec<&str> = forms.iter().map(|(name, _)| &**name).collect();
            view["source"] = json!(source);
            view["quarantined"] = json!(quarantined);
            view["deliveries"] =
                forms.iter().map(|(name, form)| json!({ "destination": &**name, "form": form })).collect();
            view["destinations"] = json!(names);
            view["routes"] = decisions(rows, &facts(event));
            explained.push(view);
        }
    }
    explained
}

/// What each route says to an event: all that take it, and the first that do not.
fn decisions(rows: &[Row], facts: &Facts<'_>) -> Value {
    let mut refusing = 0;
    let told = rows.iter().filter_map(|row| {
        let refused_by = row.wanted.refuses(facts);
        refusing += usize::from(refused_by.is_some());
        let to: Vec<&str> = row.to.iter().map(|(name, _)| name.as_str()).collect();
        let told = refused_by.is_none() || refusing <= REFUSING_SHOWN_MAX;
        told.then(|| json!({ "route": row.name, "to": to, "takes": refused_by.is_none(), "refused_by": refused_by }))
    });
    told.collect()
}

/// An event as it would be shown once it is kept.
fn event_view(event: &Event<'_>) -> Value {
    json!({
        "kind": event.kind.as_str(),
        "field": &*event.field,
        "type": &*event.r#type,
        "class": event.class.as_str(),
        "phone_number_id": event.phone_number_id,
        "display_phone_number": event.display_phone_number,
        "waba_id": event.waba_id,
        "conversation": event.conversation,
        "wamid": event.wamid,
        "key": event.key.as_str(),
        "occurred_at": event.occurred_at_ms.map(|at| time(UnixMillis(at))),
        "duplicate": false,
    })
}
