//! What is configured, at work: upstreams, sources, destinations and routes, as one table.
//!
//! **The promises:** a change builds everything new before it shows anything of it, then swaps the whole table in one
//! step; what did not change keeps its connections and its gates, and what was owed stays owed to whom it was owed.
//! Reading the table takes no lock.

mod build;
mod change;
mod quiet;
mod table;
mod wanted;

use std::sync::Arc;

use anyhow::Context;
use arc_swap::{ArcSwap, Guard};
use tokio::sync::Mutex;
use waypost_domain::Clock;
use waypost_engine::dispatch::Dispatcher;
use waypost_engine::sender::Keyring;
use waypost_outbound::{Outbound, OutboundConfig};
use waypost_store::{EntryKind, Store};

use crate::config::{Config, Fingerprint, Own};

pub(crate) use change::{Added, ChangeError, Rotation};
pub(crate) use quiet::Quiet;
pub(crate) use table::{Destination, Route, Source, Table, Upstream};
use wanted::{Configured, Wanted};

/// All that is configured, and how it changes.
pub(crate) struct Registry {
    table: ArcSwap<Table>,
    outbound: Outbound,
    dispatcher: Dispatcher,
    store: Store,
    clock: Clock,
    keyring: Keyring,
    own: Own,
    /// What is asked for. Held while a change is made, so that changes follow one another.
    wanted: Mutex<Wanted>,
}

impl Registry {
    /// What the configuration and the store ask for. `own` is where the gateway itself is called.
    ///
    /// # Errors
    ///
    /// When something of it cannot be set up, or the store cannot be read.
    pub(crate) async fn new(
        config: &Config,
        own: Own,
        dispatcher: Dispatcher,
        store: Store,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let outbound = Outbound::new(OutboundConfig::new(clock.clone()));
        let mut wanted = Wanted::default();
        for kind in EntryKind::MADE {
            let records = store.entries(kind).await.context("cannot read what was made at run time")?;
            for record in records {
                wanted.remember(record, &own);
            }
        }
        let this = Self {
            table: ArcSwap::default(),
            outbound,
            dispatcher,
            store,
            clock,
            keyring: Keyring::default(),
            own,
            wanted: Mutex::new(wanted),
        };
        this.configure(config).await?;
        Ok(this)
    }

    /// The table as it is now.
    pub(crate) fn table(&self) -> Guard<Arc<Table>> {
        self.table.load()
    }

    /// The same, to keep.
    pub(crate) fn table_full(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Takes over what the configuration now asks for.
    ///
    /// # Errors
    ///
    /// When something of it cannot be set up: then nothing has changed.
    pub(crate) async fn configure(&self, config: &Config) -> anyhow::Result<()> {
        let mut wanted = self.wanted.lock().await;
        let mut next = wanted.clone();
        next.configured = Configured::of(config);
        self.show(&next)?;
        *wanted = next;
        Ok(())
    }

    /// Reads anew the files that entries made at run time name, where they have changed.
    ///
    /// # Errors
    ///
    /// When something cannot be set up with what they now hold: then nothing has changed.
    pub(crate) async fn renew(&self) -> anyhow::Result<()> {
        let mut wanted = self.wanted.lock().await;
        let mut next = wanted.clone();
        let own = self.own.clone();
        let next = tokio::task::spawn_blocking(move || next.renew(&own).then_some(next)).await?;
        if let Some(next) = next {
            self.show(&next)?;
            *wanted = next;
        }
        Ok(())
    }

    /// The files that entries made at run time name, and what they held when they were last read.
    pub(crate) async fn fingerprint(&self) -> Fingerprint {
        self.wanted.lock().await.fingerprint()
    }

    /// Builds a table of what is wanted and swaps it in, destinations first, so that whatever the new table takes
    /// has one.
    fn show(&self, wanted: &Wanted) -> anyhow::Result<()> {
        let former = self.table.load_full();
        let prepared = self.prepare(wanted, &former)?;
        let next = self.begin(prepared)?;
        self.keyring.set(next.secrets());
        self.table.store(Arc::new(next));
        let next = self.table.load();
        for name in former.owed_names().filter(|name| !next.is_owed_name(name)) {
            self.dispatcher.remove(name);
            tracing::info!(destination = %name, "destination removed; what it is owed is kept");
        }
        Ok(())
    }
}
