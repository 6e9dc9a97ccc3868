//! The arguments of `waypost doctor`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::address::CallbackUrl;
use crate::cli::ServeArguments;

#[derive(Args, Debug)]
pub(crate) struct DoctorArguments {
    /// A callback address, anywhere, to call as Meta would; without one, this server is examined
    #[arg(value_name = "URL")]
    pub(super) url: Option<CallbackUrl>,
    /// The verify token, to try the handshake: the token itself, env:NAME or file:PATH
    #[arg(long, value_name = "TOKEN", requires = "url")]
    pub(super) verify_token: Option<String>,
    /// The app secret, to send a harmless signed test event: the secret itself, env:NAME or file:PATH
    #[arg(long, value_name = "SECRET", requires = "url")]
    pub(super) app_secret: Option<String>,
    /// Send the test event even without an app secret, and one as large as Meta's largest
    #[arg(long, requires = "url")]
    pub(super) post: bool,
    /// Connect to this address instead of where the name leads, such as before DNS is changed
    #[arg(long, value_name = "ADDRESS", requires = "url")]
    pub(super) at: Option<IpAddr>,
    /// Trust this PEM file besides the system's authorities; Meta does not
    #[arg(long, value_name = "FILE")]
    pub(super) ca_file: Option<PathBuf>,
    /// Exit with 1 for warnings too
    #[arg(long)]
    pub(super) strict: bool,
    /// Print one object a line
    #[arg(long)]
    pub(super) json: bool,
    /// What the server is configured with
    #[command(flatten)]
    pub(super) serve: ServeArguments,
}
