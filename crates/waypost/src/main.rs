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
mod lifecycle;
mod logging;
mod pinging;
mod public;
mod redirect;
mod registry;
mod reload;
mod rendering;
mod retention;
mod socket;
mod synthetic;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use crate::exit::Exit;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let ending = run(arguments).unwrap_or_else(|error| {
        terminal::complain(&format!("{error:#}"));
        exit::of(&error)
    });
    ending.into()
}

/// Runs one command to its end.
fn run(arguments: cli::Arguments) -> anyhow::Result<Exit> {
    // The one TLS provider of the whole process; a second installation cannot happen here.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("waypost").enable_all().build()?;
    let ending = runtime.block_on(commands::run(arguments));
    runtime.shutdown_background();
    ending
}
