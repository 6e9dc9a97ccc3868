//! The life of the process: two tokens, a deadline, and parts that must not die.
//!
//! A soft stop (SIGTERM or SIGINT) accepts and claims nothing new and lets what is under way finish;
//! after [`limits::DRAIN_TIME_MAX`], or at a second signal, a hard stop gives that up. A part that ends
//! before the soft stop stops the whole process, with another exit code than being asked to. A supervisor that wants to know
//! hears when everything is served, that we live, and when the end begins.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::Interval;
use tokio_util::sync::CancellationToken;
use waypost_domain::limits;
use waypost_edge::Supervisor;

use crate::exit::Exit;

/// Runs the process's parts.
pub(crate) struct Lifecycle {
    /// Heard from the beginning: a signal that comes early must not end the process by the system's default.
    signals: Signals,
    supervisor: Arc<Supervisor>,
    soft: CancellationToken,
    hard: CancellationToken,
    last: CancellationToken,
    parts: JoinSet<&'static str>,
    attendants: JoinSet<&'static str>,
}

impl Lifecycle {
    /// Nothing runs yet; signals are heard from here on.
    ///
    /// # Errors
    ///
    /// When they cannot be.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            signals: Signals::new()?,
            supervisor: Arc::new(Supervisor::from_env()),
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
            last: CancellationToken::new(),
            parts: JoinSet::new(),
            attendants: JoinSet::new(),
        })
    }

    /// Who started us and watches us.
    pub(crate) fn supervisor(&self) -> Arc<Supervisor> {
        self.supervisor.clone()
    }

    /// Cancelled when nothing new is to be begun.
    pub(crate) fn soft(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Cancelled when what is under way is to be given up.
    pub(crate) fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Cancelled when all parts have ended: what shows how the others are doing ends last.
    pub(crate) fn last(&self) -> CancellationToken {
        self.last.clone()
    }

    /// Starts a part. It must end after the soft stop, and not before.
    pub(crate) fn spawn(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.parts.spawn(async move {
            part.await;
            name
        });
    }

    /// Starts something that goes on until all parts have ended, and must then end soon.
    pub(crate) fn attend(
        &mut self,
        name: &'static str,
        attendant: impl Future<Output = ()> + Send + 'static,
    ) {
        self.attendants.spawn(async move {
            attendant.await;
            name
        });
    }

    /// Everything is served: runs until all parts have ended. `reload` is called at SIGHUP.
    pub(crate) async fn run(mut self, reload: impl Fn()) -> Exit {
        let mut exit = Exit::Done;
        self.supervisor.ready();
        let mut pulse = self.supervisor.alive_every().map(tokio::time::interval);
        loop {
            tokio::select! {
                ended = self.parts.join_next() => match ended {
                    None => break,
                    Some(ended) => exit = self.judge(ended, exit),
                },
                Some(ended) = self.attendants.join_next() => exit = self.judge(ended, exit),
                () = beat(&mut pulse) => self.supervisor.alive(),
                () = heard(&mut self.signals.hangup) => reload(),
                () = either(&mut self.signals.terminate, &mut self.signals.interrupt) => {
                    if self.soft.is_cancelled() {
                        tracing::warn!("second signal: ending at once");
                        return Exit::Failed;
                    }
                    tracing::info!("stopping: finishing what is under way; a second signal ends at once");
                    self.stop();
                }
            }
        }
        self.dismiss_attendants().await;
        exit
    }

    /// Waits until somebody asks the process to stop.
    pub(crate) async fn asked_to_stop(&mut self) {
        either(&mut self.signals.terminate, &mut self.signals.interrupt).await;
    }

    /// Stops everything, softly at first, and waits for the end.
    pub(crate) async fn finish(mut self) {
        self.stop();
        while self.parts.join_next().await.is_some() {}
        self.dismiss_attendants().await;
    }

    /// Kept connections of people who watch must not keep the process from ending.
    async fn dismiss_attendants(&mut self) {
        self.last.cancel();
        let all_ended = async { while self.attendants.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(ATTENDANTS_TIME_MAX, all_ended).await;
    }

    fn stop(&mut self) {
        self.supervisor.stopping();
        self.soft.cancel();
        let hard = self.hard.clone();
        tokio::spawn(async move {
            tokio::time::sleep(limits::DRAIN_TIME_MAX).await;
            hard.cancel();
        });
    }

    fn judge(&mut self, ended: Result<&'static str, tokio::task::JoinError>, exit: Exit) -> Exit {
        match ended {
            Ok(_) if self.soft.is_cancelled() => exit,
            Ok(part) => {
                tracing::error!(part, "a part of the server ended by itself; stopping");
                self.stop();
                Exit::PartDied
            }
            Err(error) => {
                tracing::error!(%error, "a part of the server died; stopping");
                self.stop();
                Exit::PartDied
            }
        }
    }
}

/// The signals that mean something to us.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

async fn beat(pulse: &mut Option<Interval>) {
    match pulse {
        Some(pulse) => {
            pulse.tick().await;
        }
        None => std::future::pending().await,
    }
}

async fn heard(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        () = heard(one) => {}
        () = heard(other) => {}
    }
}

/// How long the admin side may take to finish its answers.
const ATTENDANTS_TIME_MAX: Duration = Duration::from_secs(1);
/// How often files are looked at for changes.
pub(crate) const WATCH_EVERY: Duration = Duration::from_secs(2);
