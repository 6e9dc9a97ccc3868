//! How a command ends, as its exit code.

use std::process::ExitCode;

/// What the exit code says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// What was typed makes no sense.
    WrongUsage,
    /// The configuration is wrong.
    WrongConfiguration,
    /// The server cannot be reached.
    Unreachable,
    /// A part of the server died.
    PartDied,
}

impl Exit {
    /// The number, as documented.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::WrongUsage => 2,
            Self::WrongConfiguration => 64,
            Self::Unreachable => 69,
            Self::PartDied => 70,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// An error that ends a command with another code than 1.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Ended {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

/// What was typed makes no sense.
pub(crate) fn wrong_usage(message: impl Into<String>) -> anyhow::Error {
    Ended::new(Exit::WrongUsage, message).into()
}

/// The exit that an error asks for.
pub(crate) fn of(error: &anyhow::Error) -> Exit {
    error.downcast_ref::<Ended>().map_or(Exit::Failed, |ended| ended.exit)
}
