//! The one that keeps certificates: looks what is due, tries, waits, tells.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use instant_acme::{Account, Error};
use tokio::sync::Notify;
use waypost_domain::{Clock, UnixMillis};
use waypost_outbound::Outbound;

use crate::account;
use crate::certificate::{Certificate, Kept};
use crate::challenges::Challenges;
use crate::charge::{CertificateStatus, Charge};
use crate::keep::{self, Keep, KeepError};
use crate::limits::{ATTEMPT_TIME_MAX, LOOK_EVERY, RENEWAL_INFO_EVERY, RENEWAL_INFO_EVERY_BOUNDS};
use crate::order::{Failure, Wanted, obtain};
use crate::schedule::{Diary, within};
use crate::settings::{Settings, SettingsError};
use crate::transport::Transport;

type Install = Box<dyn Fn(&Certificate) + Send + Sync>;
type Chance = Box<dyn Fn() -> u64 + Send + Sync>;

/// Keeps the certificates of these settings. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Acme(Arc<Parts>);

struct Parts {
    settings: Settings,
    keep: Arc<dyn Keep>,
    clock: Clock,
    chance: Chance,
    install: Install,
    transport: Transport,
    challenges: Challenges,
    counters: AcmeCounters,
    charges: Mutex<Vec<Charge>>,
    wake: Notify,
}

/// What was done, for the metrics page. All only grow.
#[derive(Debug, Default)]
pub struct AcmeCounters {
    /// Attempts begun.
    pub attempts: AtomicU64,
    /// Certificates got.
    pub issued: AtomicU64,
    /// Attempts that failed, and those that could not begin.
    pub failures: AtomicU64,
}

impl Acme {
    /// Keeps the certificates of these settings, in this `keep`. `install` is called with every certificate that is to be
    /// served from now on, and with any that was kept. `chance` gives random numbers, so that many servers do not renew
    /// in the same second. Nothing is done before [`Acme::restore`] and [`Acme::run`].
    ///
    /// # Errors
    ///
    /// When the settings cannot stand.
    pub fn new(
        settings: Settings,
        keep: Arc<dyn Keep>,
        clock: Clock,
        outbound: Outbound,
        chance: impl Fn() -> u64 + Send + Sync + 'static,
        install: impl Fn(&Certificate) + Send + Sync + 'static,
    ) -> Result<Self, SettingsError> {
        let settings = settings.checked()?;
        let transport =
            Transport::new(outbound, settings.extra_roots.clone(), settings.allow_private, clock.clone());
        let charges = settings.certificates.iter().map(|names| Charge::of(names.clone())).collect();
        Ok(Self(Arc::new(Parts {
            settings,
            keep,
            clock,
            chance: Box::new(chance),
            install: Box::new(install),
            transport,
            challenges: Challenges::default(),
            counters: AcmeCounters::default(),
            charges: Mutex::new(charges),
            wake: Notify::new(),
        })))
    }

    /// The answers to be given to the authority.
    pub fn challenges(&self) -> &Challenges {
        &self.0.challenges
    }

    /// What was done so far.
    pub fn counters(&self) -> &AcmeCounters {
        &self.0.counters
    }

    /// How each certificate is doing.
    pub fn status(&self) -> Vec<CertificateStatus> {
        self.0.charges().iter().map(Charge::status).collect()
    }

    /// Why some name cannot be served, if one cannot.
    pub fn unready(&self) -> Option<String> {
        let now = self.0.clock.wall();
        self.status().iter().find_map(|status| status.unready(now))
    }

    /// Looks at once what is due, rather than within [`LOOK_EVERY`].
    pub fn look(&self) {
        self.0.wake.notify_one();
    }

    /// Forgets the waits after failures, not the budget, and looks at once: an operator has mended what was wrong.
    pub fn hurry(&self) {
        for charge in self.0.charges().iter_mut() {
            charge.diary.hurry();
        }
        self.look();
    }

    /// Finds what was kept and installs the certificates. To be called once, before the listeners are served.
    ///
    /// A certificate of the same authority that was kept for other names, before the configuration changed, is
    /// installed too: it serves the names it has until those of the configuration are certified.
    ///
    /// # Errors
    ///
    /// When what is kept cannot be read: then nothing is known about earlier attempts, and none must be made.
    pub async fn restore(&self) -> Result<(), KeepError> {
        let parts = &self.0;
        let now = parts.clock.wall();
        for key in parts.keep.list(keep::CERTIFICATES).await? {
            let Some(mut certificate) = parts.kept(&key).await? else { continue };
            certificate.names.retain(|name| parts.settings.certificates.iter().any(|set| set.contains(name)));
            if certificate.not_after > now && !certificate.names.is_empty() {
                (parts.install)(&certificate);
            }
        }
        for names in &parts.settings.certificates {
            let directory = &parts.settings.directory;
            let certificate = parts.kept(&keep::certificate(directory, names)).await?;
            let certificate = certificate.filter(|certificate| certificate.covers(names));
            let diary = parts.keep.get(&keep::diary(directory, names)).await?;
            let diary: Diary =
                diary.and_then(|value| serde_json::from_slice(&value).ok()).unwrap_or_default();
            if let Some(certificate) = &certificate {
                (parts.install)(certificate);
            }
            parts.charge(names, |charge| {
                charge.diary = diary.read(now);
                charge.hold(certificate, (parts.chance)());
            });
        }
        Ok(())
    }

    /// Keeps the certificates, for ever. Dropping the future leaves everything as it was last written down.
    pub async fn run(&self) {
        let parts = &self.0;
        let mut account = None;
        loop {
            for names in &parts.settings.certificates {
                parts.look_after(names, &mut account).await;
            }
            let now = parts.clock.wall();
            let next = parts.charges().iter().map(Charge::next).min().unwrap_or(now.plus(LOOK_EVERY));
            tokio::select! {
                () = parts.wake.notified() => {}
                // By the wall clock, which may step: so it is looked at again before long.
                () = tokio::time::sleep(next.since(now).clamp(Duration::from_millis(10), LOOK_EVERY)) => {}
            }
        }
    }
}

impl Parts {
    /// Does for one certificate what is due, if anything is.
    async fn look_after(&self, names: &[String], account: &mut Option<Account>) {
        let now = self.clock.wall();
        let Some(charge) = self.charges().iter().find(|charge| charge.names == names).cloned() else {
            return;
        };
        if let Some(kept) = &charge.unkept
            && let Err(failure) = self.retain(names, kept).await
        {
            tracing::warn!(
                reason = failure.sentence,
                "the certificate in use is not kept; a restart would need another"
            );
        }
        if let Some(certificate) = &charge.certificate
            && charge.ask_at <= now
        {
            self.ask_when(names, certificate, account).await;
        }
        let due = self.charges().iter().find(|charge| charge.names == names).map(Charge::attempt_at);
        if due.is_none_or(|due| due > now) {
            return;
        }
        self.charge(names, |charge| charge.busy = true);
        let attempted = self.attempt(names, &charge, account).await;
        if attempted.is_err() {
            // Read anew the next time: addresses and keys may have changed.
            *account = None;
        }
        self.charge(names, |charge| charge.busy = false);
        if let Err(failure) = attempted {
            self.counters.failures.fetch_add(1, Ordering::Relaxed);
            let status = self.charges().iter().find(|charge| charge.names == names).map(Charge::status);
            let next_attempt_at = status.as_ref().map(|status| status.next_attempt_at.0);
            let not_after = status.and_then(|status| status.not_after).map(|end| end.0);
            tracing::error!(
                names = names.join(", "),
                reason = failure.sentence,
                next_attempt_at,
                not_after,
                "no new certificate"
            );
        }
    }

    async fn attempt(
        &self,
        names: &[String],
        charge: &Charge,
        account: &mut Option<Account>,
    ) -> Result<(), Failure> {
        let mut diary = charge.diary.clone();
        let mut begun = false;
        let outcome =
            tokio::time::timeout(ATTEMPT_TIME_MAX, self.work(names, charge, account, &mut diary, &mut begun));
        let failure = match outcome.await {
            Ok(Ok((kept, certificate))) => return self.take(names, kept, certificate, diary).await,
            Ok(Err(failure)) => failure,
            Err(_) => Failure::timed_out(),
        };
        let (now, wait) = (self.clock.wall(), self.transport.take_retry_after());
        let sentence = failure.sentence.clone();
        if begun {
            diary.end(now, (self.chance)(), sentence, wait);
        } else {
            diary.fail(now, (self.chance)(), sentence, wait);
        }
        self.charge(names, |charge| charge.diary = diary.clone());
        // What was written before the attempt holds already: this one only says it better.
        if let Err(unwritten) = self.write(names, &diary).await {
            tracing::warn!(reason = unwritten.sentence, "how the attempt ended could not be written down");
        }
        Err(failure)
    }

    async fn work(
        &self,
        names: &[String],
        charge: &Charge,
        account: &mut Option<Account>,
        diary: &mut Diary,
        begun: &mut bool,
    ) -> Result<(Kept, Certificate), Failure> {
        // Whether the authority can be reached at all is found out before the attempt counts.
        self.transport.take_retry_after();
        if account.is_none() {
            *account = account::find(&self.settings, &*self.keep, &self.transport).await?;
        }
        diary.begin(self.clock.wall(), (self.chance)());
        self.write(names, diary).await?;
        *begun = true;
        self.counters.attempts.fetch_add(1, Ordering::Relaxed);
        self.charge(names, |charge| charge.diary = diary.clone());

        let mut kinds = self.settings.challenges.clone();
        let turn = charge.diary.failures as usize % kinds.len().max(1);
        kinds.rotate_left(turn);
        let wanted = Wanted {
            settings: &self.settings,
            names,
            replaces: charge.certificate.as_ref().and_then(Certificate::identifier),
            challenges: &self.challenges,
            kinds,
        };
        let known = match account {
            Some(known) => known,
            None => account.insert(account::make(&self.settings, &*self.keep, &self.transport).await?),
        };
        match obtain(known, &wanted).await {
            Err(failure) if failure.is("accountDoesNotExist") => {
                tracing::warn!("the authority does not know the account that was kept; making another");
                let made = account::make(&self.settings, &*self.keep, &self.transport).await?;
                obtain(account.insert(made), &wanted).await
            }
            outcome => outcome,
        }
    }

    /// A certificate has come: it is served at once, and the attempt is a success once it is kept.
    async fn take(
        &self,
        names: &[String],
        kept: Kept,
        certificate: Certificate,
        mut diary: Diary,
    ) -> Result<(), Failure> {
        (self.install)(&certificate);
        let not_after = certificate.not_after;
        self.charge(names, |charge| charge.hold(Some(certificate), (self.chance)()));
        self.counters.issued.fetch_add(1, Ordering::Relaxed);
        self.charge(names, |charge| charge.unkept = Some(kept.clone()));
        self.retain(names, &kept).await?;
        diary.succeed();
        self.charge(names, |charge| charge.diary = diary.clone());
        self.write(names, &diary).await?;
        tracing::info!(names = names.join(", "), not_after = not_after.0, "a new certificate is in use");
        Ok(())
    }

    /// Keeps a certificate that is served already.
    async fn retain(&self, names: &[String], kept: &Kept) -> Result<(), Failure> {
        let value = serde_json::to_vec(kept).map_err(Error::from)?;
        self.keep.put(&keep::certificate(&self.settings.directory, names), value).await?;
        self.charge(names, |charge| charge.unkept = None);
        Ok(())
    }

    /// Asks the authority when a certificate is to be renewed.
    async fn ask_when(&self, names: &[String], certificate: &Certificate, account: &mut Option<Account>) {
        let suggested = tokio::time::timeout(ATTEMPT_TIME_MAX, self.suggested(certificate, account)).await;
        let now = self.clock.wall();
        let (window, again) = match suggested {
            Ok(Ok((window, again))) => {
                (window, again.clamp(RENEWAL_INFO_EVERY_BOUNDS.0, RENEWAL_INFO_EVERY_BOUNDS.1))
            }
            Ok(Err(failure)) => {
                tracing::debug!(reason = failure.sentence, "the authority does not say when to renew");
                (None, RENEWAL_INFO_EVERY)
            }
            Err(_) => (None, RENEWAL_INFO_EVERY),
        };
        let roll = (self.chance)();
        self.charge(names, |charge| {
            charge.ask_at = now.plus(again);
            if let Some((start, end)) = window
                && !(start..=end).contains(&charge.renew_at)
            {
                // Never so late that the certificate ends first, whatever is suggested.
                charge.renew_at = within(start, end, roll).min(certificate.not_after);
            }
        });
    }

    async fn suggested(
        &self,
        certificate: &Certificate,
        account: &mut Option<Account>,
    ) -> Result<(Option<(UnixMillis, UnixMillis)>, Duration), Failure> {
        if account.is_none() {
            *account = account::find(&self.settings, &*self.keep, &self.transport).await?;
        }
        let (Some(account), Some(identifier)) = (account, certificate.identifier()) else {
            return Ok((None, RENEWAL_INFO_EVERY));
        };
        let (info, again) = account.renewal_info(&identifier).await?;
        let window = info.suggested_window;
        let moment = |seconds: i64| UnixMillis(seconds.saturating_mul(1_000));
        let (start, end) = (moment(window.start.unix_timestamp()), moment(window.end.unix_timestamp()));
        Ok(((start < end).then_some((start, end)), again))
    }

    async fn kept(&self, key: &str) -> Result<Option<Certificate>, KeepError> {
        let Some(value) = self.keep.get(key).await? else { return Ok(None) };
        let Ok(kept) = serde_json::from_slice::<Kept>(&value) else {
            tracing::warn!(key, "a certificate that was kept cannot be read; another will be got");
            return Ok(None);
        };
        if kept.directory != self.settings.directory {
            return Ok(None);
        }
        match kept.open() {
            Ok(certificate) => Ok(Some(certificate)),
            Err(error) => {
                tracing::warn!(key, %error, "a certificate that was kept is set aside");
                Ok(None)
            }
        }
    }

    async fn write(&self, names: &[String], diary: &Diary) -> Result<(), Failure> {
        let value = serde_json::to_vec(diary).map_err(Error::from)?;
        Ok(self.keep.put(&keep::diary(&self.settings.directory, names), value).await?)
    }

    fn charge(&self, names: &[String], change: impl FnOnce(&mut Charge)) {
        if let Some(charge) = self.charges().iter_mut().find(|charge| charge.names == names) {
            change(charge);
        }
    }

    fn charges(&self) -> MutexGuard<'_, Vec<Charge>> {
        self.charges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
