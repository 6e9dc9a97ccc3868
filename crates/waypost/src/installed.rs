//! Where the packaged service has its things, for commands that are told nothing else.

use std::path::{Path, PathBuf};

/// Its configuration.
pub(crate) const CONFIG: &str = "/etc/waypost/waypost.toml";
/// Its data directory.
pub(crate) const DATA: &str = "/var/lib/waypost";
/// The data directory of a server that is started by hand and told nothing else.
pub(crate) const DATA_BY_HAND: &str = "waypost-data";

/// The data directory that is meant where nobody names one: the one beside us, else the service's if there is that.
pub(crate) fn data_dir() -> PathBuf {
    let by_hand = Path::new(DATA_BY_HAND);
    if !by_hand.exists() && Path::new(DATA).is_dir() { DATA.into() } else { by_hand.into() }
}

/// Whether a command that is told nothing means the service: it is installed, and nothing is beside us.
pub(crate) fn is_meant() -> bool {
    !Path::new(DATA_BY_HAND).exists() && Path::new(CONFIG).exists() && Path::new(DATA).is_dir()
}
