//! The life of the process: two tokens, a deadline, and parts that must not die.
//!
//! A soft stop (SIGTERM or SIGINT) accepts and claims nothing new and lets what is under way finish;
//! after [`limits::DRAIN_TIME_MAX`], or at a second signal, a hard stop gives that up. A part that ends
//! before the soft stop stops the whole process, with another exit code than being asked to. A supervisor that wants to know
//! hears when everything is served, that we live, and when the end begins.
//!
//! Where another process goes on in our place ([`crate::upgrade`]), the parts that use the store end first, the doors go on, and
//! end once the other one serves.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use waypost_domain::limits;
use waypost_edge::limits::FAREWELL_TIME;
use waypost_edge::{Stop, Supervisor};

use crate::exit::Exit;
use crate::upgrade::{Asked, OpenDoors, Program, Successor, UpgradeError, Upgrades};

/// Runs the process's parts.
pub(crate) struct Lifecycle {
    /// Heard from the beginning: a signal that comes early must not end the process by the system's default.
    signals: Signals,
    supervisor: Arc<Supervisor>,
    soft: CancellationToken,
    hard: CancellationToken,
    last: CancellationToken,
    doors_stop: Stop,
    parts: JoinSet<&'static str>,
    doors: JoinSet<&'static str>,
    attendants: JoinSet<&'static str>,
    pulse: Option<AbortHandle>,
    succession: Option<Succession>,
    upgrades: Upgrades,
}

/// What a process needs that can be succeeded by another.
struct Succession {
    program: Program,
    asked: mpsc::Receiver<Asked>,
    /// Kept open until a stop begins.
    open: Arc<OpenDoors>,
}

/// How running ends.
pub(crate) enum Ending {
    /// All parts have ended.
    Stopped(Exit),
    /// Another process is prepared to go on.
    Succeeded(Box<Successor>),
}

impl Lifecycle {
    /// Nothing runs yet; signals are heard from here on. With a program, another process that runs it may go on in our place.
    ///
    /// # Errors
    ///
    /// When signals cannot be heard.
    pub(crate) fn new(program: Option<Program>) -> anyhow::Result<Self> {
        let (upgrades, asked) = Upgrades::channel();
        Ok(Self {
            signals: Signals::new()?,
            supervisor: Arc::new(Supervisor::from_env()),
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
            last: CancellationToken::new(),
            doors_stop: Stop::default(),
            parts: JoinSet::new(),
            doors: JoinSet::new(),
            attendants: JoinSet::new(),
            pulse: None,
            succession: program.map(|program| Succession { program, asked, open: Arc::default() }),
            upgrades,
        })
    }

    /// Who started us and watches us.
    pub(crate) fn supervisor(&self) -> Arc<Supervisor> {
        self.supervisor.clone()
    }

    /// What asks for an upgrade.
    pub(crate) fn upgrades(&self) -> Upgrades {
        self.upgrades.clone()
    }

    /// Cancelled when nothing new is to be begun by what uses the store.
    pub(crate) fn soft(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Cancelled when what is under way there is to be given up.
    pub(crate) fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// How the doors end: together with the rest, or after it, where another process goes on.
    pub(crate) fn doors(&self) -> Stop {
        self.doors_stop.clone()
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

    /// Starts a part through which callers come. It must end after [`Lifecycle::doors`] says so, and not before.
    pub(crate) fn open(&mut self, name: &'static str, door: impl Future<Output = ()> + Send + 'static) {
        self.doors.spawn(async move {
            door.await;
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

    /// These sockets are what a successor is to have.
    pub(crate) fn hold(&mut self, open: OpenDoors) {
        if let Some(succession) = &mut self.succession {
            succession.open = Arc::new(open);
        }
    }

    /// Everything is served: runs until all parts have ended, or another process is prepared to go on. `reload` is called at
    /// SIGHUP.
    pub(crate) async fn run(&mut self, reload: impl Fn()) -> Ending {
        let mut exit = Exit::Done;
        let mut preparing = None;
        self.supervisor.ready();
        self.pulse = self.supervisor.alive_every().map(|every| beat(self.supervisor.clone(), every));
        loop {
            tokio::select! {
                ended = next(&mut self.parts, &mut self.doors) => match ended {
                    None => break,
                    Some(ended) => exit = self.judge(ended, exit),
                },
                Some(ended) = self.attendants.join_next() => exit = self.judge(ended, exit),
                () = heard(&mut self.signals.hangup) => reload(),
                () = heard(&mut self.signals.upgrade) => self.prepare(&mut preparing, None),
                asked = asked(&mut self.succession) => self.prepare(&mut preparing, Some(asked)),
                (successor, asked) = prepared(&mut preparing) => {
                    preparing = None;
                    if let Some(successor) = answered(successor, asked) {
                        return Ending::Succeeded(Box::new(successor));
                    }
                }
                () = either(&mut self.signals.terminate, &mut self.signals.interrupt) => {
                    if self.soft.is_cancelled() {
                        tracing::warn!("second signal: ending at once");
                        return Ending::Stopped(Exit::Failed);
                    }
                    tracing::info!("stopping: finishing what is under way; a second signal ends at once");
                    preparing = None;
                    self.stop();
                }
            }
        }
        self.dismiss_attendants().await;
        Ending::Stopped(exit)
    }

    /// Starts a successor, unless there is a reason not to.
    fn prepare(&mut self, preparing: &mut Option<Preparing>, asked: Option<Asked>) {
        let refused = match &self.succession {
            None => UpgradeError::NotPossible("it was not started by `waypost serve`"),
            Some(_) if self.soft.is_cancelled() => UpgradeError::NotPossible("it is stopping"),
            Some(_) if preparing.is_some() => UpgradeError::UnderWay,
            Some(_) if std::process::id() == 1 => UpgradeError::NotPossible(
                "it is process 1 of a container, which ends with it; start another container instead",
            ),
            Some(Succession { program, open, .. }) => {
                tracing::info!("upgrading: starting the new process");
                let (program, open) = (program.clone(), open.clone());
                let successor = async move { Successor::prepare(&program, &open).await };
                *preparing = Some(Preparing { successor: Box::pin(successor), asked });
                return;
            }
        };
        answered(Err(refused), asked);
    }

    /// Waits until somebody asks the process to stop.
    pub(crate) async fn asked_to_stop(&mut self) {
        either(&mut self.signals.terminate, &mut self.signals.interrupt).await;
    }

    /// Stops everything, softly at first, and waits for the end.
    pub(crate) async fn finish(&mut self) {
        self.stop();
        while next(&mut self.parts, &mut self.doors).await.is_some() {}
        self.dismiss_attendants().await;
    }

    /// Ends what uses the store, while the doors stay open; whether nobody asked the process to stop meanwhile.
    pub(crate) async fn rest(&mut self) -> bool {
        self.soft.cancel();
        let give_up = Instant::now() + limits::DRAIN_TIME_MAX;
        loop {
            tokio::select! {
                ended = self.parts.join_next() => match ended {
                    None => break,
                    Some(Ok(_)) => {}
                    Some(Err(error)) => tracing::error!(%error, "a part of the server died"),
                },
                () = sleep_until(give_up), if !self.hard.is_cancelled() => self.hard.cancel(),
                asked = asked(&mut self.succession) => {
                    let _ = asked.send(Err(UpgradeError::UnderWay));
                }
                () = either(&mut self.signals.terminate, &mut self.signals.interrupt) => return false,
            }
        }
        self.dismiss_attendants().await;
        true
    }

    /// Another process serves: says so, and ends the doors once nobody comes through them any more. `gone` completes when the
    /// other one is no longer there.
    pub(crate) async fn leave(&mut self, process: u32, gone: impl Future<Output = ()>) {
        // The other one's first sign of life may be as far away as the last of ours may be ago.
        self.supervisor.alive();
        self.supervisor.main_process(process);
        if let Some(pulse) = self.pulse.take() {
            pulse.abort();
        }
        self.doors_stop.succession.cancel();
        self.doors_stop.soft.cancel();
        let mut gone = std::pin::pin!(gone);
        let (mut is_gone, mut is_asked) = (false, false);
        let mut end = Instant::now() + LEAVE_TIME_MAX;
        loop {
            tokio::select! {
                ended = self.doors.join_next() => if ended.is_none() { return },
                () = &mut gone, if !is_gone => {
                    is_gone = true;
                    // A supervisor may see that the other one has died only once we have ended, too.
                    end = end.min(Instant::now() + FORSAKEN_TIME_MAX);
                }
                () = sleep_until(end), if !self.doors_stop.hard.is_cancelled() => self.doors_stop.hard.cancel(),
                () = either(&mut self.signals.terminate, &mut self.signals.interrupt) => {
                    if is_asked {
                        return;
                    }
                    is_asked = true;
                    end = end.min(Instant::now() + FAREWELL_TIME);
                }
            }
        }
    }

    /// What a successor needs; none where there can be none.
    pub(crate) fn estate(&self) -> Option<(Program, Arc<OpenDoors>)> {
        self.succession.as_ref().map(|succession| (succession.program.clone(), succession.open.clone()))
    }

    /// Whether somebody watches us who stops all that is ours.
    pub(crate) fn is_supervised(&self) -> bool {
        self.supervisor.is_there()
    }

    /// Whether a stop was asked for while nobody listened.
    pub(crate) async fn was_asked_to_stop(&mut self) -> bool {
        timeout(Duration::ZERO, self.asked_to_stop()).await.is_ok()
    }

    /// Kept connections of people who watch must not keep the process from ending.
    async fn dismiss_attendants(&mut self) {
        self.last.cancel();
        let all_ended = async { while self.attendants.join_next().await.is_some() {} };
        let _ = timeout(ATTENDANTS_TIME_MAX, all_ended).await;
    }

    fn stop(&mut self) {
        self.supervisor.stopping();
        if let Some(succession) = &mut self.succession {
            // What is held here would go on listening.
            succession.open = Arc::default();
        }
        self.soft.cancel();
        self.doors_stop.soft.cancel();
        let (hard, doors) = (self.hard.clone(), self.doors_stop.hard.clone());
        tokio::spawn(async move {
            tokio::time::sleep(limits::DRAIN_TIME_MAX).await;
            hard.cancel();
            doors.cancel();
        });
    }

    fn judge(&mut self, ended: Result<&'static str, JoinError>, exit: Exit) -> Exit {
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

/// A successor that is being prepared, and who waits for that.
struct Preparing {
    successor: Pin<Box<dyn Future<Output = Result<Successor, UpgradeError>> + Send>>,
    asked: Option<Asked>,
}

/// Tells whoever asked, and the log, how it went.
fn answered(successor: Result<Successor, UpgradeError>, asked: Option<Asked>) -> Option<Successor> {
    match &successor {
        Ok(successor) => {
            let prepared = &successor.prepared;
            tracing::info!(
                process = prepared.process,
                version = prepared.version,
                "the new process is prepared"
            );
        }
        Err(error) => tracing::error!("no upgrade; this process goes on: {error}"),
    }
    if let Some(asked) = asked {
        let answer = successor.as_ref().map(|successor| successor.prepared.clone()).map_err(Clone::clone);
        let _ = asked.send(answer);
    }
    successor.ok()
}

async fn prepared(preparing: &mut Option<Preparing>) -> (Result<Successor, UpgradeError>, Option<Asked>) {
    match preparing {
        Some(Preparing { successor, asked }) => (successor.await, asked.take()),
        None => std::future::pending().await,
    }
}

async fn asked(succession: &mut Option<Succession>) -> Asked {
    if let Some(succession) = succession
        && let Some(asked) = succession.asked.recv().await
    {
        return asked;
    }
    std::future::pending().await
}

/// The next part or door that ends; none once all have.
async fn next(
    parts: &mut JoinSet<&'static str>,
    doors: &mut JoinSet<&'static str>,
) -> Option<Result<&'static str, JoinError>> {
    tokio::select! {
        Some(ended) = parts.join_next() => Some(ended),
        Some(ended) = doors.join_next() => Some(ended),
        else => None,
    }
}

/// The signals that mean something to us.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    upgrade: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }
}

/// Says again and again that we live.
fn beat(supervisor: Arc<Supervisor>, every: Duration) -> AbortHandle {
    let mut pulse = tokio::time::interval(every);
    let beating = tokio::spawn(async move {
        loop {
            pulse.tick().await;
            supervisor.alive();
        }
    });
    beating.abort_handle()
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

/// How long connections that are kept with us may go on while another process serves: none ends sooner than it would have
/// ended otherwise.
const LEAVE_TIME_MAX: Duration = limits::IDLE_TIME_MAX.saturating_add(limits::DRAIN_TIME_MAX);
/// How long they may go on once the other process is gone.
const FORSAKEN_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the admin side may take to finish its answers.
const ATTENDANTS_TIME_MAX: Duration = Duration::from_secs(1);
/// How often files are looked at for changes.
pub(crate) const WATCH_EVERY: Duration = Duration::from_secs(2);
