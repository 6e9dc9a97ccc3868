//! `waypost serve`: runs the gateway.

use waypost_domain::Clock;
use waypost_edge::Inherited;

use crate::config::{self, Inputs};
use crate::exit::{Ended, Exit};
use crate::gateway::Gateway;
use crate::lifecycle::Lifecycle;
use crate::{logging, terminal};

/// Runs until asked to stop, or until a part dies.
pub(crate) async fn run(inputs: Inputs, inherited: Inherited) -> anyhow::Result<Exit> {
    logging::start("info");
    let mut lifecycle = Lifecycle::new()?;
    let loaded = config::load(&inputs).map_err(|refused| {
        Ended::new(Exit::WrongConfiguration, format!("wrong configuration:\n{refused}"))
    })?;
    raise_file_limit();
    let gateway = Gateway::build(loaded, inputs, inherited, Clock::system(), &lifecycle).await?;
    let store = gateway.store();
    gateway.addresses().announce();
    let callbacks = gateway.callbacks();
    for callback in &callbacks {
        terminal::say(&format!("callback  {callback}"));
    }
    if callbacks.is_empty() {
        terminal::say("callback  none yet: allow a receiver with `waypost upstream add HOST`");
    }
    let reload = gateway.spawn(&mut lifecycle);
    terminal::say("ready");
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
    let exit = lifecycle.run(|| reload.ask()).await;
    store.close().await;
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
