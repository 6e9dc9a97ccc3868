//! `waypost completions`: shell completions.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Arguments;
use crate::exit::Exit;
use crate::terminal;

/// Prints a shell's completions.
pub(crate) fn run(shell: Shell) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "waypost", &mut script);
    terminal::say_raw(&String::from_utf8_lossy(&script));
    Exit::Done
}
