//! `waypost serve`: runs the gateway.

use waypost_domain::Clock;
use waypost_edge::Inherited;

use crate::config::{self, Inputs};
use crate::exit::{Ended, Exit};
use crate::gateway::Gateway;
use crate::lifecycle::{Ending, Lifecycle};
use crate::upgrade::{Doors, Predecessor, Program, hand_over};
use crate::{logging, terminal};

/// Runs until asked to stop, until a part dies, or until another process has gone on in our place.
pub(crate) async fn run(inputs: Inputs, inherited: Inherited) -> anyhow::Result<Exit> {
    logging::start("info");
    let (mut predecessor, doors) = match Predecessor::at_standard_input().await? {
        Some((predecessor, doors)) => (Some(predecessor), doors),
        None => (None, Doors::from(inherited)),
    };
    let served = serve(inputs, doors, &mut predecessor).await;
    // Whom we were to succeed says why we did not, to those who asked for it.
    if let (Err(error), Some(mut predecessor)) = (&served, predecessor) {
        predecessor.refuse(&format!("{error:#}")).await;
    }
    served
}

/// Takes the predecessor once it serves in its place.
async fn serve(inputs: Inputs, doors: Doors, predecessor: &mut Option<Predecessor>) -> anyhow::Result<Exit> {
    let mut lifecycle = Lifecycle::new(Some(Program::of_this_process()))?;
    let loaded = config::load(&inputs).map_err(|refused| {
        Ended::new(Exit::WrongConfiguration, format!("wrong configuration:\n{refused}"))
    })?;
    raise_file_limit();
    let clock = Clock::system();
    let gateway =
        Gateway::build(loaded, inputs, doors, predecessor.as_mut(), clock.clone(), &mut lifecycle).await?;
    let (store, public) = (gateway.store(), gateway.public());
    gateway.addresses().announce();
    let callbacks = gateway.callbacks();
    for callback in &callbacks {
        terminal::say(&format!("callback  {callback}"));
    }
    if callbacks.is_empty() {
        terminal::say("callback  none yet: allow a receiver with `waypost upstream add HOST`");
    }
    let reload = gateway.spawn(&mut lifecycle);
    if let Some(predecessor) = predecessor.take() {
        public.clone().relieve(predecessor.ready().await, &mut lifecycle);
    }
    terminal::say("ready");
    tracing::info!(version = env!("CARGO_PKG_VERSION"), process = std::process::id(), "ready");
    let exit = match lifecycle.run(|| reload.ask()).await {
        Ending::Stopped(exit) => {
            store.close().await;
            exit
        }
        Ending::Succeeded(successor) => {
            hand_over(&mut lifecycle, *successor, &store, public.turnstile(), &clock).await
        }
    };
    tracing::info!("stopped");
    Ok(exit)
}

/// Connections are file descriptors: takes as many as the system lets this process have.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() {
        tracing::warn!("the number of open files stays at its soft limit");
    }
}
