//! The commands, one file each.

mod check;
mod completions;
mod deliveries;
mod demo;
mod events;
mod query;
mod serve;
mod trigger;
mod upstream;

use crate::cli::{Arguments, Command, ServeArguments, ServerArguments};
use crate::config::{Env, Inputs};
use crate::exit::Exit;

/// Runs the command that was asked for.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { server, command } = arguments;
    match command {
        Command::Serve(arguments) => serve::run(inputs(&server, arguments)).await,
        Command::Demo(arguments) => demo::run(&arguments).await,
        Command::Check(arguments) => Ok(check::run(inputs(&server, arguments.serve), arguments.json)),
        Command::Upstream(command) => upstream::run(&server, command).await,
        Command::Events(command) => events::run(&server, command).await,
        Command::Deliveries(command) => deliveries::run(&server, command).await,
        Command::Dead(command) => deliveries::run_dead(&server, command).await,
        Command::Replay(arguments) => deliveries::replay(&server, arguments).await,
        Command::Pause { destination, json } => deliveries::hold(&server, &destination, true, json).await,
        Command::Resume { destination, json } => deliveries::hold(&server, &destination, false, json).await,
        Command::Trigger(arguments) => trigger::run(&arguments).await,
        Command::Completions { shell } => Ok(completions::run(shell)),
    }
}

fn inputs(server: &ServerArguments, arguments: ServeArguments) -> Inputs {
    let ServeArguments { config, allow, listen, admin } = arguments;
    Inputs { config_path: config, allow, listen, admin, data: server.data.clone(), env: Env::Process }
}
