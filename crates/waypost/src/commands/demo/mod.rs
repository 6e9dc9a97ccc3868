//! `waypost demo`: the whole thing on one screen.
//!
//! A gateway on a store that is thrown away, a stand-in for Meta that sends signed traffic and repeats what
//! is not acknowledged, and a receiver that fails for a while. At the end every acknowledged event is
//! looked for at the receiver, by its identity key.

mod meta;
mod receiver;
mod screen;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use waypost_domain::Clock;
use waypost_edge::{ConnectionLimits, Edge, Listener, Stop};

use crate::cli::DemoArguments;
use crate::config::{self, Env, Inputs};
use crate::exit::Exit;
use crate::gateway::Gateway;
use crate::lifecycle::Lifecycle;
use crate::upgrade::Doors;
use crate::{chance, logging, terminal};

use meta::Meta;
use receiver::Receiver;
use screen::Screen;

/// The receiver's name on the allow-list.
const HOST: &str = "receiver.demo";
/// How long what is still owed may take to arrive at the end.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(30);
/// How often the screen is drawn.
const FRAME: Duration = Duration::from_millis(200);

/// Runs until Ctrl-C, or for as long as asked.
pub(crate) async fn run(arguments: &DemoArguments) -> anyhow::Result<Exit> {
    logging::start("off");
    let directory = Directory::new()?;
    let clock = Clock::system();
    let secret = chance::hex::<16>()?;

    let receiver = Arc::new(Receiver::new(&secret)?);
    let mut lifecycle = Lifecycle::new(None)?;
    let listener = Listener::bind(([127, 0, 0, 1], 0).into())?;
    let receiver_address = listener.local_addr()?;
    let stop = Stop { soft: lifecycle.last(), hard: lifecycle.last(), ..Stop::default() };
    let (edge, answering) = (Edge::new(ConnectionLimits::default()), receiver.clone());
    let answer = move |request, _| {
        let receiver = answering.clone();
        async move { receiver.answer(request).await }
    };
    lifecycle.attend("receiver", async move { edge.serve(listener, None, answer, stop).await });

    let inputs = inputs(&directory.0, &secret, &format!("http://{receiver_address}"))?;
    let loaded = config::load(&inputs)?;
    let gateway =
        Gateway::build(loaded, inputs, Doors::default(), None, clock.clone(), &mut lifecycle).await?;
    let addresses = gateway.addresses().clone();
    let (store, dispatcher) = (gateway.store(), gateway.dispatcher());
    gateway.spawn(&mut lifecycle);

    let base = addresses.public.first().context("the gateway has no address")?;
    let callback = format!("{base}/{HOST}/webhooks/whatsapp/%2B15550147720");
    let meta = Arc::new(Meta::new(&callback, &secret, &clock)?);
    let mut screen = Screen::new(&callback, &addresses, clock.clone());
    let sending = tokio::spawn(meta.clone().send(arguments.rate, clock.clone()));

    let plan = Plan::of(arguments.for_);
    let began = clock.monotonic();
    loop {
        let now = clock.monotonic().saturating_sub(began);
        receiver.fail(plan.fails_at(now));
        let down = dispatcher.destination(HOST).is_some_and(|destination| destination.status().down);
        screen.draw(&meta, &receiver, plan.phase(now, down), down);
        if plan.ends.is_some_and(|end| now >= end) {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(FRAME) => {}
            () = lifecycle.asked_to_stop() => break,
        }
    }

    // No more traffic; the receiver is well again; what is owed arrives.
    meta.stop();
    sending.await.context("the stand-in for Meta died")?;
    receiver.fail(false);
    let until = clock.monotonic() + DRAIN_TIME_MAX;
    while meta.missing(&receiver) > 0 && clock.monotonic() < until {
        let down = dispatcher.destination(HOST).is_some_and(|destination| destination.status().down);
        screen.draw(&meta, &receiver, "the end: what is still owed arrives", down);
        tokio::select! {
            () = tokio::time::sleep(FRAME) => {}
            () = lifecycle.asked_to_stop() => break,
        }
    }
    screen.draw(&meta, &receiver, "the end", false);
    lifecycle.finish().await;
    store.close().await;
    Ok(verdict(&meta, &receiver))
}

/// When the receiver fails, and when all ends.
struct Plan {
    fails: Duration,
    returns: Duration,
    ends: Option<Duration>,
}

impl Plan {
    fn of(length: Option<Duration>) -> Self {
        let quarter = length.map_or(Duration::from_secs(6), |length| length / 4).min(Duration::from_secs(15));
        Self { fails: quarter, returns: quarter * 2, ends: length }
    }

    fn fails_at(&self, now: Duration) -> bool {
        (self.fails..self.returns).contains(&now)
    }

    fn phase(&self, now: Duration, down: bool) -> &'static str {
        match now {
            now if now < self.fails => "all is well",
            now if now < self.returns => "the receiver is down: traffic goes on being acknowledged",
            _ if down => "the receiver is back: the next probe will find it",
            _ => "the receiver is back: what was owed has been or is being delivered, in order",
        }
    }
}

fn inputs(directory: &Path, secret: &str, origin: &str) -> anyhow::Result<Inputs> {
    let text = format!(
        "[server]\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\n[[upstream]]\nhost = \"{HOST}\"\norigin = \"{origin}\"\n\
         app_secrets = [\"env:DEMO_APP_SECRET\"]\nschedule = [\"1s\", \"2s\"]\n"
    );
    let path = directory.join("waypost.toml");
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    let mut inputs = Inputs::of(Env::fixed([("DEMO_APP_SECRET", secret)]));
    inputs.config_path = Some(path);
    inputs.data = Some(directory.join("data"));
    Ok(inputs)
}

/// Says what was found, and whether anything is missing.
fn verdict(meta: &Meta, receiver: &Receiver) -> Exit {
    let (acknowledged, missing) = (meta.acknowledged(), meta.missing(receiver));
    terminal::say("");
    terminal::say(&format!("events acknowledged              {acknowledged}"));
    terminal::say(&format!("of them found at the receiver    {}", acknowledged - missing));
    terminal::say(&format!("missing                          {missing}"));
    terminal::say(&format!("received twice                   {}", receiver.repeats()));
    terminal::say(&format!("out of order in a conversation   {}", receiver.disordered()));
    if missing == 0 {
        terminal::say("nothing acknowledged was lost");
        Exit::Done
    } else {
        for key in meta.missing_keys(receiver).into_iter().take(10) {
            terminal::say(&format!("missing: {key}"));
        }
        Exit::Failed
    }
}

/// A directory that is removed in the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("waypost-demo-{}", chance::hex::<8>()?));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
