//! One run of the binary to its end.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use super::within;

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// The lines of a `--json` answer.
    pub(crate) fn json(&self) -> Vec<Value> {
        let lines = self.out.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The same, which must have been a success.
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }
}

/// The binary, with nothing of this process's environment but the path.
pub(super) fn binary(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
    dress(&mut command, folder);
    command
}

/// Lets a command know nothing but its folder, and end with its handle.
pub(super) fn dress(command: &mut Command, folder: &Path) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).current_dir(folder).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
}

/// Runs `waypost` in a folder.
pub(crate) async fn waypost(folder: &Path, arguments: &[&str]) -> Ended {
    run(binary(folder).args(arguments), &format!("waypost {arguments:?}")).await
}

pub(super) async fn run(command: &mut Command, what: &str) -> Ended {
    let output = within(30, what, command.output()).await.unwrap();
    Ended {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
