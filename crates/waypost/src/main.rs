//! `waypost`: a self-hosted gateway between WhatsApp's webhooks and whatever handles the
//! conversations.

mod admin;
mod api_client;
mod certificate;
mod certifying;
mod chance;
mod cli;
mod commands;
mod config;
mod exit;
mod explaining;
mod gateway;
mod installed;
mod lifecycle;
mod logging;
mod meta_gate;
mod pinging;
mod public;
mod redirect;
mod registry;
mod reload;
mod rendering;
mod retention;
mod socket;
mod stream_client;
mod streaming;
mod synthetic;
mod terminal;
mod upgrade;

use std::io;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use waypost_edge::Inherited;

use crate::exit::Exit;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before there is a second thread: it changes the environment.
    let inherited = Inherited::take();
    let arguments = cli::Arguments::parse();
    let ending = run(arguments, inherited).unwrap_or_else(|error| {
        terminal::complain(&format!("{error:#}"));
        exit::of(&error)
    });
    ending.into()
}

/// Runs one command to its end.
fn run(arguments: cli::Arguments, inherited: io::Result<Inherited>) -> anyhow::Result<Exit> {
    let inherited = inherited.context("the sockets handed over by the supervisor cannot be used")?;
    // The one TLS provider of the whole process; a second installation cannot happen here.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("waypost").enable_all().build()?;
    let ending = runtime.block_on(commands::run(arguments, inherited));
    runtime.shutdown_background();
    ending
}
