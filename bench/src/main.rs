//! `make bench`: Waypost beside its peers and the physical floor, in one command and one table.

mod certificates;
mod connection;
mod floor;
mod histogram;
mod ids;
mod interrupt;
mod listening;
mod machine;
mod names;
mod peers;
mod process;
mod readers;
mod response;
mod scenario;
mod sender;
mod sink;
mod stopwatch;
mod table;
mod webhook;

mod commands;

use std::process::ExitCode;

use clap::Parser as _;

/// The allocator that the gateway uses, since the floor must stand on the same ground.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match commands::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("waypost-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
