//! Reloading: changed files are taken over, whole or not at all, without a restart.
//!
//! Watched are the configuration's files and those that entries made at run time name. What a reload cannot change is in
//! [`config::restart_needed`].

use std::sync::Arc;
use std::time::Duration;

use waypost_edge::Supervisor;

use crate::admin::Admin;
use crate::config::{self, Config, Fingerprint, Inputs};
use crate::lifecycle::WATCH_EVERY;
use crate::registry::Registry;

/// Asks for a reload.
#[derive(Clone, Default)]
pub(crate) struct Reload(Arc<tokio::sync::Notify>);

impl Reload {
    /// Reload soon.
    pub(crate) fn ask(&self) {
        self.0.notify_one();
    }
}

/// How long changed files must stay as they are: an editor or a copy may be half-way.
const SETTLE_TIME: Duration = Duration::from_millis(700);

/// Watches the configuration's files and takes changes over, whole or not at all.
pub(crate) struct Watch {
    /// What is in force.
    pub(crate) config: Config,
    /// What it is made from.
    pub(crate) inputs: Inputs,
    /// The configuration's files as they were read last.
    pub(crate) fingerprint: Fingerprint,
    pub(crate) registry: Arc<Registry>,
    pub(crate) admin: Arc<Admin>,
    pub(crate) supervisor: Arc<Supervisor>,
}

impl Watch {
    /// Watches for as long as it is let.
    pub(crate) async fn run(mut self, asked: Reload) {
        loop {
            tokio::select! {
                () = asked.0.notified() => {
                    tracing::info!("reloading as asked");
                    if let Some(acme) = &self.admin.acme {
                        acme.hurry();
                    }
                    self.reload().await;
                }
                () = tokio::time::sleep(WATCH_EVERY) => {
                    if self.has_settled_anew().await {
                        tracing::info!("the configuration's files have changed; reloading");
                        self.reload().await;
                    }
                }
            }
        }
    }

    /// Whether the files have changed, and are no longer being written: two looks agree.
    async fn has_settled_anew(&self) -> bool {
        let before = self.fingerprint.clone().joined(self.registry.fingerprint().await);
        let look = |at: Fingerprint| tokio::task::spawn_blocking(move || at.renewed());
        let Ok(first) = look(before.clone()).await else { return false };
        if first == before {
            return false;
        }
        tokio::time::sleep(SETTLE_TIME).await;
        look(before).await.is_ok_and(|second| second == first)
    }

    async fn reload(&mut self) {
        self.supervisor.reloading();
        self.read_again().await;
        self.supervisor.ready();
    }

    async fn read_again(&mut self) {
        // Whatever is wrong with the configuration, what was made at run time follows its own files.
        if let Err(error) = self.registry.renew().await {
            tracing::error!(
                "the entries made at run time cannot be taken over anew; they go on as they are: {error:#}"
            );
        }
        let inputs = self.inputs.clone();
        let Ok(loaded) = tokio::task::spawn_blocking(move || config::load(&inputs)).await else { return };
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(refused) => {
                self.fingerprint = refused.fingerprint.clone();
                tracing::error!("the new configuration does not stand; the former one goes on:\n{refused}");
                return;
            }
        };
        self.fingerprint = loaded.fingerprint;
        let restart = config::restart_needed(&self.config, &loaded.config);
        if !restart.is_empty() {
            tracing::error!(keys = ?restart, "the new configuration changes what only a restart can; the former one goes on");
            return;
        }
        match self.take_over(&loaded.config).await {
            Ok(()) => {
                for warning in loaded.warnings {
                    tracing::warn!("{warning}");
                }
                self.config = loaded.config;
                tracing::info!("the new configuration is in force");
            }
            Err(error) => tracing::error!(
                "the new configuration cannot be taken over; the former one goes on: {error:#}"
            ),
        }
    }

    async fn take_over(&self, config: &Config) -> anyhow::Result<()> {
        // The certificate first: it is checked before it is shown, and if the rest then fails, a
        // newer certificate harms nobody.
        if let Some(tls) = &self.admin.tls {
            tls.reload()?;
        }
        self.registry.configure(config).await?;
        self.admin.public.gate().configure(&config.server);
        self.admin.streaming.configure(&config.stream).await;
        Ok(())
    }
}
