//! What a configuration is made from: flags, variables and the file they name.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// The command's flags and the environment, as given. Flags left out are `None` or empty.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    /// `--config F`, else `WAYPOST_CONFIG`: the only way a file is read.
    pub(crate) config_path: Option<PathBuf>,
    /// `--allow HOST[=ORIGIN]`, repeatable, and `WAYPOST_ALLOW`, comma separated: both add upstreams.
    /// For a host that the file has too, a given origin replaces the file's and all else stays the file's.
    pub(crate) allow: Vec<String>,
    /// `--listen ADDR`, else `WAYPOST_LISTEN`, else `WAYPOST_HTTP`: over `server.http`.
    pub(crate) listen: Option<String>,
    /// `--admin ADDR`, else `WAYPOST_ADMIN`: over `server.admin`.
    pub(crate) admin: Option<String>,
    /// `--data DIR`, else `WAYPOST_DATA`.
    pub(crate) data: Option<PathBuf>,
    /// Also asked for `WAYPOST_DOMAIN`, `WAYPOST_HTTPS` and the variables that `env:NAME` secrets name.
    pub(crate) env: Env,
}

impl Inputs {
    /// No flags, only an environment.
    pub(crate) fn of(env: Env) -> Self {
        Self { config_path: None, allow: Vec::new(), listen: None, admin: None, data: None, env }
    }
}

/// Where variables are looked up.
#[derive(Clone)]
pub(crate) enum Env {
    /// The process's own environment.
    Process,
    /// These and no others.
    Fixed(BTreeMap<String, OsString>),
}

impl Env {
    /// These variables and no others.
    pub(crate) fn fixed<const N: usize>(variables: [(&str, &str); N]) -> Self {
        Self::Fixed(variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
    }

    /// The variable's value; `None` where it is unset or empty.
    pub(super) fn look_up(&self, name: &str) -> Option<OsString> {
        let value = match self {
            Self::Process => std::env::var_os(name),
            Self::Fixed(variables) => variables.get(name).cloned(),
        };
        value.filter(|value| !value.is_empty())
    }
}

impl fmt::Debug for Env {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => f.write_str("Process"),
            Self::Fixed(variables) => f.debug_set().entries(variables.keys()).finish(),
        }
    }
}
