//! The commands, one file each.

mod check;
mod completions;
mod deliveries;
mod demo;
pub(crate) mod destination;
pub(crate) mod doctor;
mod events;
pub(crate) mod following;
pub(crate) mod import;
pub(crate) mod listen;
mod manual;
pub(crate) mod ping;
pub(crate) mod quarantine;
mod query;
pub(crate) mod route;
mod serve;
pub(crate) mod source;
pub(crate) mod tail;
pub(crate) mod token;
mod trigger;
mod upgrade;
mod upstream;

use serde_json::Value;
use waypost_edge::Inherited;

use crate::cli::{Arguments, Command, ServeArguments, ServerArguments};
use crate::config::{Env, Inputs};
use crate::exit::Exit;
use crate::terminal;

/// Runs the command that was asked for. The sockets that were open before us are for the server.
pub(crate) async fn run(arguments: Arguments, inherited: Inherited) -> anyhow::Result<Exit> {
    let Arguments { server, command } = arguments;
    match command {
        Command::Serve(arguments) => serve::run(inputs(&server, arguments), inherited).await,
        Command::Demo(arguments) => demo::run(&arguments).await,
        Command::Upgrade { json } => upgrade::run(&server, json).await,
        Command::Check(arguments) => Ok(check::run(inputs(&server, arguments.serve), arguments.json)),
        Command::Upstream(command) => upstream::run(&server, command).await,
        Command::Source(command) => source::run(&server, command).await,
        Command::Destination(command) => destination::run(&server, command).await,
        Command::Route(command) => route::run(&server, command).await,
        Command::Quarantine(command) => quarantine::run(&server, command).await,
        Command::Ping(arguments) => ping::run(&server, arguments).await,
        Command::Events(command) => events::run(&server, command).await,
        Command::Deliveries(command) => deliveries::run(&server, command).await,
        Command::Dead(command) => deliveries::run_dead(&server, command).await,
        Command::Replay(arguments) => deliveries::replay(&server, arguments).await,
        Command::Pause { destination, json } => deliveries::hold(&server, &destination, true, json).await,
        Command::Resume { destination, json } => deliveries::hold(&server, &destination, false, json).await,
        Command::Listen(arguments) => listen::run(&server, *arguments).await,
        Command::Tail(arguments) => tail::run(&server, *arguments).await,
        Command::Token(command) => token::run(&server, command).await,
        Command::Trigger(arguments) => trigger::run(&arguments).await,
        Command::Doctor(arguments) => doctor::run(&server, *arguments).await,
        Command::Import(command) => import::run(command),
        Command::Manual { folder } => manual::run(&folder),
        Command::Completions { shell } => Ok(completions::run(shell)),
    }
}

fn inputs(server: &ServerArguments, arguments: ServeArguments) -> Inputs {
    let ServeArguments { config, allow, listen, admin } = arguments;
    Inputs { config_path: config, allow, listen, admin, data: server.data.clone(), env: Env::Process }
}

/// Says what the server found doubtful about what was asked for.
fn say_warnings(answer: &Value) {
    for warning in answer["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        terminal::say(&format!("warning: {warning}"));
    }
}
