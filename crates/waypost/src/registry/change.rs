//! Changes at run time: adding, removing, and new secrets for a source. Each is kept before it is shown.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use waypost_domain::ROUTES_MAX;
use waypost_store::{EntryKind, EntryRecord};

use super::Registry;
use super::table::Table;
use super::wanted::{Read, Wanted};
use crate::chance;
use crate::config::{self, DESTINATIONS_MAX, Finding, Made, ROUTES_TO_MAX, SOURCES_MAX};

/// Upstreams that there may be.
const UPSTREAMS_MAX: usize = 10_000;
/// Characters of a token that is made: 258 bits.
const TOKEN_CHARACTERS: usize = 43;
/// Characters of a verify token that is made: 144 bits.
const VERIFY_TOKEN_CHARACTERS: usize = 24;
/// Secrets of one sort that a source may have at once, while they change.
const SECRETS_MAX: usize = 16;

/// What was added.
pub(crate) struct Added {
    /// Its name.
    pub(crate) name: String,
    /// What is allowed and yet probably not meant.
    pub(crate) warnings: Vec<String>,
    /// The table that has it.
    pub(crate) table: Arc<Table>,
}

/// New secrets for a source. The former ones go on holding until they are finished.
#[derive(Debug, Default)]
pub(crate) struct Rotation {
    /// An app secret, as the configuration would have it.
    pub(crate) app_secret: Option<String>,
    /// A verify token, as the configuration would have it.
    pub(crate) verify_token: Option<String>,
    /// Whether a verify token is to be made.
    pub(crate) make_verify_token: bool,
    /// Whether a token is to be made, and with it a callback address.
    pub(crate) make_token: bool,
    /// Whether all but the newest of each are to go.
    pub(crate) finish: bool,
}

/// Why something could not be changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The settings are wrong.
    #[error("{1}")]
    Wrong(EntryKind, String),
    /// It is there already.
    #[error("{}", exists(*.0, .1))]
    Exists(EntryKind, String),
    /// There is none of that name.
    #[error("{}", unknown(*.0, .1))]
    Unknown(EntryKind, String),
    /// The configuration asks for it, so it cannot be changed here.
    #[error("`{1}` is in the configuration; change it there, and the change takes effect by itself")]
    Configured(EntryKind, String),
    /// Something else needs it.
    #[error("{1}")]
    InUse(EntryKind, String),
    /// Something below failed.
    #[error("{0:#}")]
    Failed(anyhow::Error),
}

fn exists(kind: EntryKind, name: &str) -> String {
    match kind {
        EntryKind::Upstream => format!("`{name}` is on the allow-list already; remove it first"),
        kind => format!("there is a {} `{name}` already; remove it first", kind.as_str()),
    }
}

fn unknown(kind: EntryKind, name: &str) -> String {
    match kind {
        EntryKind::Upstream => format!("`{name}` is not on the allow-list"),
        kind => format!("there is no {} `{name}`", kind.as_str()),
    }
}

impl Registry {
    /// Adds an entry at run time. `settings` is kept and read as the configuration's section is; what a source or a
    /// route needs and nobody gave (token, verify token, name) is made.
    ///
    /// # Errors
    ///
    /// When it is wrong, is there already, leads nowhere or cannot be kept: then nothing has changed.
    pub(crate) async fn add(&self, kind: EntryKind, settings: String) -> Result<Added, ChangeError> {
        let mut wanted = self.wanted.lock().await;
        let settings = self.completed(kind, settings)?;
        let made = Read::of(kind, &settings, &self.own).map_err(|what| ChangeError::Wrong(kind, what))?;
        let Made { entry: read, warnings, fingerprint } = made;
        let table = self.table_full();
        let name = name_of(&read, &table);
        if is_there(kind, &name, &table) || wanted.is_configured(kind, &name) {
            return Err(ChangeError::Exists(kind, name));
        }
        fits(kind, &read, &name, &wanted, &table)?;
        let record = EntryRecord { kind, name: name.clone(), settings, created_at: self.clock.wall() };
        let mut next = wanted.clone();
        // One that was made before and could not be set up since is replaced.
        next.put(record.clone(), read.clone(), fingerprint);
        self.keep(kind, record, &mut wanted, next).await?;
        let mut warnings: Vec<String> = warnings.iter().map(Finding::to_string).collect();
        let table = self.table_full();
        if let Read::Source(source) = &read
            && table.source(&source.name).is_some_and(|source| source.routing.is_empty())
        {
            warnings.push(format!("no route takes events of {name} yet: all of them are quarantined until one does: `waypost route add {name} DESTINATION --match KEY=VALUE`, or `--all`"));
        }
        Ok(Added { name, warnings, table })
    }

    /// Removes an entry that was made at run time, one that cannot be set up too. What is owed is kept. With a source its
    /// routes go where `with_routes` says so.
    ///
    /// # Errors
    ///
    /// When there is none, it is the configuration's, something needs it or the store fails: then nothing has changed,
    /// but for routes that are gone before a source where the store fails half-way.
    pub(crate) async fn remove(
        &self,
        kind: EntryKind,
        name: &str,
        with_routes: bool,
    ) -> Result<Vec<String>, ChangeError> {
        let mut wanted = self.wanted.lock().await;
        let Some(entry) = wanted.made(kind, name).cloned() else {
            return Err(match wanted.is_configured(kind, name) {
                true => ChangeError::Configured(kind, name.to_owned()),
                false => ChangeError::Unknown(kind, name.to_owned()),
            });
        };
        let name = entry.record.name.clone();
        let table = self.table_full();
        let needing: Vec<String> = match kind {
            // One that the configuration shadows is needed by nobody.
            _ if wanted.is_configured(kind, &name) => Vec::new(),
            EntryKind::Destination => routes_where(&table, |route| route.to.contains(&name)),
            EntryKind::Source => routes_where(&table, |route| route.source == name),
            _ => Vec::new(),
        };
        let goes_along = with_routes && kind == EntryKind::Source;
        if !needing.is_empty() && !goes_along {
            let list = needing.join(", ");
            let remedy = match kind {
                EntryKind::Source => "remove them first, or give --with-routes",
                _ => "remove them or lead them elsewhere first",
            };
            let what = format!("{} `{name}` is named by the routes {list}; {remedy}", kind.as_str());
            return Err(ChangeError::InUse(kind, what));
        }
        let mut next = wanted.clone();
        for route in &needing {
            if next.take(EntryKind::Route, route).is_none() {
                return Err(ChangeError::Configured(EntryKind::Route, route.clone()));
            }
        }
        next.take(kind, &name);
        let former = self.table_full();
        self.prepare(&next, &former).map_err(ChangeError::Failed)?;
        for route in &needing {
            self.store.entry_delete(EntryKind::Route, route).await.map_err(failed)?;
        }
        self.store.entry_delete(kind, &name).await.map_err(failed)?;
        self.show(&next).map_err(ChangeError::Failed)?;
        *wanted = next;
        Ok(needing)
    }

    /// Gives a source made at run time new secrets beside the former ones, or takes the former ones away.
    ///
    /// # Errors
    ///
    /// As [`Registry::add`].
    pub(crate) async fn rotate(&self, name: &str, rotation: Rotation) -> Result<Added, ChangeError> {
        const KIND: EntryKind = EntryKind::Source;
        let mut wanted = self.wanted.lock().await;
        let Some(entry) = wanted.made(KIND, name).cloned() else {
            return Err(match wanted.is_configured(KIND, name) {
                true => ChangeError::Configured(KIND, name.to_owned()),
                false => ChangeError::Unknown(KIND, name.to_owned()),
            });
        };
        let mut settings = table_of(KIND, &entry.record.settings)?;
        let made = |bytes: anyhow::Result<String>| bytes.map(Some).map_err(ChangeError::Failed);
        let token = if rotation.make_token { made(chance::token::<TOKEN_CHARACTERS>())? } else { None };
        let verify_token = match rotation.make_verify_token && rotation.verify_token.is_none() {
            true => made(chance::token::<VERIFY_TOKEN_CHARACTERS>())?,
            false => rotation.verify_token,
        };
        let news = [("app_secrets", rotation.app_secret), ("verify_token", verify_token), ("token", token)];
        for (key, new) in news {
            let mut all = listed(settings.remove(key));
            if let Some(new) = new {
                all.retain(|former| *former != new);
                all.insert(0, Value::String(new));
            }
            if rotation.finish {
                all.truncate(1);
            }
            if all.len() > SECRETS_MAX {
                let what =
                    format!("{name} would have more than {SECRETS_MAX} of {key}; finish the rotation first");
                return Err(ChangeError::Wrong(KIND, what));
            }
            if !all.is_empty() {
                settings.insert(key.to_owned(), Value::Array(all));
            }
        }
        let settings = Value::Object(settings).to_string();
        let made = Read::of(KIND, &settings, &self.own).map_err(|what| ChangeError::Wrong(KIND, what))?;
        let Made { entry: read, warnings, fingerprint } = made;
        let record = EntryRecord { settings, ..entry.record.clone() };
        let name = record.name.clone();
        let mut next = wanted.clone();
        next.put(record.clone(), read, fingerprint);
        self.keep(KIND, record, &mut wanted, next).await?;
        let warnings = warnings.iter().map(Finding::to_string).collect();
        Ok(Added { name, warnings, table: self.table_full() })
    }

    /// Builds what is wanted next, keeps the record, and shows it.
    async fn keep(
        &self,
        kind: EntryKind,
        record: EntryRecord,
        wanted: &mut Wanted,
        next: Wanted,
    ) -> Result<(), ChangeError> {
        // It is built before it is kept, so that what is kept can be built again.
        let former = self.table_full();
        let built = self.prepare(&next, &former);
        drop(built.map_err(|error| ChangeError::Wrong(kind, format!("{error:#}")))?);
        self.store.entry_put(record).await.map_err(failed)?;
        self.show(&next).map_err(ChangeError::Failed)?;
        *wanted = next;
        Ok(())
    }

    /// The settings with what was left for us to make.
    fn completed(&self, kind: EntryKind, settings: String) -> Result<String, ChangeError> {
        if kind != EntryKind::Source {
            return Ok(settings);
        }
        let mut table = table_of(kind, &settings)?;
        let mut complete = |key: &str, make: fn() -> anyhow::Result<String>| {
            if !table.contains_key(key) {
                table.insert(key.to_owned(), Value::String(make()?));
            }
            Ok(())
        };
        complete("token", chance::token::<TOKEN_CHARACTERS>).map_err(ChangeError::Failed)?;
        complete("verify_token", chance::token::<VERIFY_TOKEN_CHARACTERS>).map_err(ChangeError::Failed)?;
        Ok(Value::Object(table).to_string())
    }
}

/// Settings as a table, from TOML or a JSON object.
fn table_of(kind: EntryKind, settings: &str) -> Result<Map<String, Value>, ChangeError> {
    let value = match settings.trim_start().starts_with('{') {
        true => serde_json::from_str(settings).ok(),
        false => settings.parse::<toml::Table>().ok().map(|table| json!(table)),
    };
    match value {
        Some(Value::Object(table)) => Ok(table),
        // Its text may be a secret's.
        _ => Err(ChangeError::Wrong(kind, "not a JSON object or TOML of keys and values".to_owned())),
    }
}

/// One value, or a list, as a list.
fn listed(value: Option<Value>) -> Vec<Value> {
    match value {
        None => Vec::new(),
        Some(Value::Array(all)) => all,
        Some(one) => vec![one],
    }
}

/// The entry's name; of a route without one, one after where it leads.
fn name_of(read: &Read, table: &Table) -> String {
    match read {
        Read::Upstream(upstream) => upstream.host.to_string(),
        Read::Source(source) => source.name.clone(),
        Read::Destination(destination) => destination.name.clone(),
        Read::Route(route) => match &route.name {
            Some(name) => name.clone(),
            None => {
                let first = route.to.first().map(String::as_str).unwrap_or_default();
                let stem: String = format!("{}-{first}", route.source).chars().take(50).collect();
                let names = (2..).map(|number: u32| format!("{stem}-{number}"));
                let mut names = std::iter::once(stem.clone()).chain(names);
                names.find(|name| !is_there(EntryKind::Route, name, table)).unwrap_or(stem)
            }
        },
    }
}

/// Whether something of that kind and name is at work.
fn is_there(kind: EntryKind, name: &str, table: &Table) -> bool {
    let is = |other: &str| other.eq_ignore_ascii_case(name);
    match kind {
        EntryKind::Upstream => table.upstream(name).is_some(),
        EntryKind::Source => table.sources().any(|source| is(&source.name)),
        EntryKind::Destination => table.destinations().any(|destination| is(&destination.name)),
        EntryKind::Route => table.routes().iter().any(|route| is(&route.name)),
        EntryKind::Certificate | EntryKind::TokenKey | EntryKind::Token => false,
    }
}

/// Whether a new entry fits with all that is there.
fn fits(kind: EntryKind, read: &Read, name: &str, wanted: &Wanted, table: &Table) -> Result<(), ChangeError> {
    let wrong = |what: String| Err(ChangeError::Wrong(kind, what));
    let most = match kind {
        EntryKind::Upstream => UPSTREAMS_MAX,
        EntryKind::Source => SOURCES_MAX,
        EntryKind::Destination => DESTINATIONS_MAX,
        EntryKind::Route => ROUTES_MAX,
        EntryKind::Certificate | EntryKind::TokenKey | EntryKind::Token => 0,
    };
    if wanted.count(kind) >= most {
        return wrong(format!("there are {most} already, as many as there may be"));
    }
    match read {
        Read::Upstream(_) => {
            if is_there(EntryKind::Source, name, table) || is_there(EntryKind::Destination, name, table) {
                return wrong(format!(
                    "`{name}` is the name of a source or a destination, and an upstream bears its host as name of both"
                ));
            }
        }
        Read::Source(source) => {
            if table.upstream(&name.to_ascii_lowercase()).is_some() {
                return wrong(format!(
                    "`{name}` is an upstream's host, which is its name as source too; choose another"
                ));
            }
            if source.tokens.iter().any(|token| table.source_of_token(token.expose()).is_some()) {
                return wrong("the token is another source's already".to_owned());
            }
        }
        Read::Destination(_) => {
            if table.upstream(&name.to_ascii_lowercase()).is_some() {
                return wrong(format!(
                    "`{name}` is an upstream's host, which is its name as destination too; choose another"
                ));
            }
        }
        Read::Route(route) => leads_somewhere(route, table)?,
    }
    Ok(())
}

fn leads_somewhere(route: &config::Route, table: &Table) -> Result<(), ChangeError> {
    let wrong = |what: String| Err(ChangeError::Wrong(EntryKind::Route, what));
    let upstream = "is an upstream, which routes have no part in";
    if table.source(&route.source).is_none() {
        let source = &route.source;
        return match table.upstream(source) {
            Some(_) => wrong(format!("`{source}` {upstream}; `waypost source add` makes a source")),
            None => wrong(format!("there is no source `{source}`; `waypost source list` lists them")),
        };
    }
    for to in &route.to {
        if table.destination(to).is_none() {
            return match table.upstream(to) {
                Some(_) => wrong(format!("`{to}` {upstream}; `waypost destination add` makes a destination")),
                None => {
                    wrong(format!("there is no destination `{to}`; `waypost destination list` lists them"))
                }
            };
        }
    }
    let values: usize = table.routes().iter().map(|other| other.settings.wanted.values()).sum();
    let named: usize = table.routes().iter().map(|other| other.settings.to.len()).sum();
    if values + route.wanted.values() > waypost_domain::ROUTE_VALUES_MAX
        || named + route.to.len() > ROUTES_TO_MAX
    {
        return wrong("all routes together name too much; remove some first".to_owned());
    }
    Ok(())
}

/// The names of the routes of which something holds.
fn routes_where(table: &Table, holds: impl Fn(&config::Route) -> bool) -> Vec<String> {
    let routes = table.routes().iter().filter(|route| holds(&route.settings));
    routes.map(|route| route.name.to_string()).collect()
}

fn failed(error: waypost_store::StoreError) -> ChangeError {
    ChangeError::Failed(error.into())
}
