//! `waypost doctor`: finds out why messages do not come, and says what to do.
//!
//! Without an address it examines this server: its configuration, name, ports, certificate, clock, disk, store, sources,
//! receivers, and what is owed or waits for a route. With one it calls that as Meta would, from wherever it runs.
//!
//! It changes nothing. No secret is in what it says; a verify token is sent only to a server whose certificate is
//! believed, and events are sent only where that was asked for, bearing the ids of nobody.
//!
//! It exits with 0 where nothing is worse than a warning, with 1 where there is a fault (or, with `--strict`, a warning), and with 64
//! where the configuration does not stand.

mod address;
mod arguments;
mod callback;
mod chain;
mod clock;
mod disk;
mod finding;
mod handshake;
mod owed;
mod ports;
mod posting;
mod reach;
mod receivers;
mod renewal;
mod running;
mod server;
mod sources;
mod speak;
mod store;
mod trust;
mod words;

use anyhow::{Context, anyhow};
use waypost_domain::Clock;
use waypost_outbound::read_ca_file;
use waypost_whatsapp::AppSecret;

pub(crate) use arguments::DoctorArguments;

use crate::cli::ServerArguments;
use crate::config::{Env, Inputs, secret};
use crate::exit::Exit;
use crate::installed;
use callback::Callback;
use finding::{Finding, Report};

/// Examines, and says what it finds as it goes.
pub(crate) async fn run(server: &ServerArguments, arguments: DoctorArguments) -> anyhow::Result<Exit> {
    let DoctorArguments { url, verify_token, app_secret, post, at, ca_file, strict, json, serve } = arguments;
    let clock = Clock::system();
    let extra_roots = ca_file.as_deref().map(read_ca_file).transpose()?.unwrap_or_default();
    let mut report = Report::new(json, strict);
    let Some(url) = url else {
        let mut inputs = super::inputs(server, serve);
        if is_told_nothing(&inputs) && installed::is_meant() {
            let what = format!(
                "nothing is named, so the service is meant: {}, {}",
                installed::CONFIG,
                installed::DATA
            );
            report.say([Finding::note("config", "", what)]);
            inputs.config_path = Some(installed::CONFIG.into());
            inputs.data = Some(installed::DATA.into());
        }
        return server::examine(inputs, &extra_roots, &clock, report).await;
    };
    let resolve = |flag: &str, text: Option<String>| {
        let resolved = text.map(|text| secret::resolve(&text, &Env::Process)).transpose();
        resolved.map_err(|what| anyhow!("{flag}: {what}"))
    };
    let app_secret = resolve("--app-secret", app_secret)?
        .map(|value| AppSecret::new("--app-secret", value).context("--app-secret"));
    let callback = Callback {
        url,
        verify_token: resolve("--verify-token", verify_token)?,
        app_secret: app_secret.transpose()?,
        post,
        at,
        extra_roots,
    };
    callback::examine(callback, &clock, &mut report).await?;
    Ok(report.conclude())
}

fn is_told_nothing(inputs: &Inputs) -> bool {
    let Inputs { config_path, allow, listen, admin, data, env: _ } = inputs;
    let by_variable = ["WAYPOST_CONFIG", "WAYPOST_DOMAIN", "WAYPOST_HTTP", "WAYPOST_HTTPS", "WAYPOST_LISTEN"];
    config_path.is_none()
        && allow.is_empty()
        && listen.is_none()
        && admin.is_none()
        && data.is_none()
        && by_variable.iter().all(|name| std::env::var_os(name).is_none())
}
