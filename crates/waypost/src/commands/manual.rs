//! `waypost manual`: the man pages, for whoever makes a package.

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::Arguments;
use crate::exit::Exit;

/// Writes one page for each command into a folder.
pub(crate) fn run(folder: &Path) -> anyhow::Result<Exit> {
    let cannot = || format!("cannot write to {}", folder.display());
    std::fs::create_dir_all(folder).with_context(cannot)?;
    clap_mangen::generate_to(Arguments::command(), folder).with_context(cannot)?;
    Ok(Exit::Done)
}
