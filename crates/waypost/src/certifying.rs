//! Certificates that come by themselves: the store keeps what getting them needs, HTTPS shows them.

use std::sync::Arc;

use anyhow::Context;
use waypost_acme::{Acme, Certificate, Keep, KeepError, KeepFuture};
use waypost_domain::Clock;
use waypost_edge::{CertificateFacts, Certificates, ServerTls};
use waypost_outbound::{Outbound, OutboundConfig};
use waypost_store::{EntryKind, EntryRecord, Store, StoreError};

use crate::{chance, config};

/// Sets up what gets certificates for these names, and TLS that shows them. What was kept is shown at once; the rest begins
/// when [`Acme::run`] does.
///
/// # Errors
///
/// When what is kept cannot be read.
pub(crate) async fn set_up(
    acme: &config::Acme,
    names: &[String],
    store: Store,
    clock: Clock,
) -> anyhow::Result<(Acme, ServerTls)> {
    let certificates = Certificates::awaiting(names);
    let book = certificates.clone();
    let install = move |certificate: &Certificate| {
        let Certificate { names, key, not_before, not_after } = certificate.clone();
        tracing::debug!(names = names.join(", "), expires = not_after.0 / 1_000, "certificate in use");
        let chain_length = key.cert.len();
        book.install(names, key, CertificateFacts { not_before, not_after, chain_length });
    };
    let acme = Acme::new(
        acme.settings(names)?,
        Arc::new(Shelf { store, clock: clock.clone() }),
        clock.clone(),
        Outbound::new(OutboundConfig::new(clock)),
        // It only spreads renewals: without chance they are not spread.
        || chance::number().unwrap_or_default(),
        install,
    )?;
    acme.restore().await.context("cannot read the certificates that were kept")?;
    let challenges = acme.challenges().clone();
    let tls = ServerTls::new(certificates)?.showing_proofs(move |name| challenges.certificate(name));
    Ok((acme, tls))
}

/// The store as the place for certificates, their keys and the diary of attempts. Its file is its owner's alone.
struct Shelf {
    store: Store,
    clock: Clock,
}

impl Shelf {
    async fn all(&self) -> Result<Vec<EntryRecord>, KeepError> {
        self.store.entries(EntryKind::Certificate).await.map_err(failed)
    }
}

impl Keep for Shelf {
    fn get<'k>(&'k self, key: &'k str) -> KeepFuture<'k, Option<Vec<u8>>> {
        Box::pin(async move {
            let found = self.all().await?.into_iter().find(|record| record.name == key);
            Ok(found.map(|record| record.settings.into_bytes()))
        })
    }

    fn put<'k>(&'k self, key: &'k str, value: Vec<u8>) -> KeepFuture<'k, ()> {
        Box::pin(async move {
            let settings = String::from_utf8(value).map_err(|_| KeepError("not text".to_owned()))?;
            let record = EntryRecord {
                kind: EntryKind::Certificate,
                name: key.to_owned(),
                settings,
                created_at: self.clock.wall(),
            };
            self.store.entry_put(record).await.map_err(failed)
        })
    }

    fn list<'k>(&'k self, prefix: &'k str) -> KeepFuture<'k, Vec<String>> {
        Box::pin(async move {
            let names = self.all().await?.into_iter().map(|record| record.name);
            Ok(names.filter(|name| name.starts_with(prefix)).collect())
        })
    }
}

fn failed(error: StoreError) -> KeepError {
    KeepError(error.to_string())
}
