//! What the program is asked to do.

mod compare;
mod parts;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::interrupt;

/// Measures Waypost beside its peers, and prints one table
///
/// Example: waypost-bench --short --only relay,accept
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true, version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    compare: compare::Compare,
}

/// The parts by themselves.
#[derive(Debug, Subcommand)]
enum Part {
    /// Sends signed webhooks and prints what came of them
    Send(parts::Send),
    /// A receiver that answers 200 and counts
    Sink(parts::Sink),
    /// A server that verifies, appends, syncs and answers: the least an acknowledgement can cost
    Floor(parts::Floor),
}

impl Cli {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.part {
            // Ends as any program does when interrupted.
            Some(Part::Floor(floor)) => floor.run(),
            Some(Part::Send(send)) => interrupt::watch().and_then(|()| send.run()),
            Some(Part::Sink(sink)) => interrupt::watch().and_then(|()| sink.run()),
            None => interrupt::watch().and_then(|()| self.compare.run()),
        }
    }
}
