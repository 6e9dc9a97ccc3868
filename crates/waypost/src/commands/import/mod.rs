//! `waypost import`: the configuration of what stood here before, as a `waypost.toml`.
//!
//! What is written passes `waypost check`: it is checked before it is handed out. What could not be carried over is
//! listed with its line, so that nothing is lost in silence. The file that is read is not changed, and no file is
//! written over.

mod allowing;
mod meaning;
mod syntax;
#[cfg(test)]
mod tests;
mod writing;

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::ModeArgument;
use crate::config::{self, Env, Inputs};
use crate::exit::Exit;
use crate::{chance, terminal};
use meaning::{Left, Meaning};
use writing::Certificate;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What to import from.
#[derive(Subcommand, Debug)]
pub(crate) enum ImportCommand {
    /// An nginx that passes calls on to the hosts of an allow-list
    #[command(
        after_help = "Example:\n  waypost import nginx /etc/nginx/sites-available/cw-proxy --out waypost.toml\n  waypost import nginx /etc/nginx/sites-available/cw-proxy --email ops@example.com"
    )]
    Nginx(NginxArguments),
}

#[derive(Args, Debug)]
pub(crate) struct NginxArguments {
    /// nginx's configuration file
    file: PathBuf,
    /// Write to this file, which must not be there yet [default: standard output]
    #[arg(long, value_name = "F")]
    out: Option<PathBuf>,
    /// Get certificates by ACME with this mail address, instead of using nginx's
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Store first and answer 200, or pass calls through as nginx does
    #[arg(long, value_enum, default_value = "store")]
    mode: ModeArgument,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Imports.
pub(crate) fn run(command: ImportCommand) -> anyhow::Result<Exit> {
    let ImportCommand::Nginx(arguments) = command;
    let NginxArguments { file, out, email, mode, json } = arguments;
    let shown = file.display().to_string();
    let text = read(&file).with_context(|| format!("cannot read {shown}"))?;
    let directives = syntax::parse(&text).map_err(|fault| anyhow!("{shown}: {fault}"))?;
    let mut meaning = meaning::understand(&directives);
    if meaning.receivers.is_empty() {
        list(&meaning.left, &shown, terminal::complain);
        return Err(anyhow!(
            "{shown}: no receiver is in it: no allow-list by `map` that a `proxy_pass` asks, and no location /HOST/"
        ));
    }
    let toml = standing(&mut meaning, email.as_deref(), mode, &shown)?;
    if let Some(out) = &out {
        write_anew(out, &toml).with_context(|| format!("cannot write {}", out.display()))?;
    }
    if json {
        let left: Vec<_> = meaning
            .left
            .iter()
            .map(|Left { line, what, why }| json!({ "line": line, "what": what, "why": why }))
            .collect();
        terminal::say(
            &json!({ "out": out, "toml": toml, "upstreams": meaning.receivers.len(), "left": left })
                .to_string(),
        );
        return Ok(Exit::Done);
    }
    match &out {
        None => {
            terminal::say_raw(&toml);
            list(&meaning.left, &shown, terminal::complain);
        }
        Some(out) => {
            let plural = if meaning.receivers.len() == 1 { "" } else { "s" };
            terminal::say(&format!(
                "{}: {} upstream{plural}; it passes `waypost check`",
                out.display(),
                meaning.receivers.len()
            ));
            list(&meaning.left, &shown, terminal::say);
        }
    }
    Ok(Exit::Done)
}

fn list(left: &[Left], file: &str, say: fn(&str)) {
    if !left.is_empty() {
        say("not carried over:");
    }
    for Left { line, what, why } in left {
        say(&format!("{file}:{line}: {what}: {why}"));
    }
}

/// The text that says the same and stands: with nginx's certificate if it can be used here, else by ACME if a mail
/// address is given, else without HTTPS.
fn standing(
    meaning: &mut Meaning,
    email: Option<&str>,
    mode: ModeArgument,
    from: &str,
) -> anyhow::Result<String> {
    let mut ways: Vec<Certificate<'_>> = email.map(Certificate::Acme).into_iter().collect();
    if email.is_none() && meaning.certificate.is_some() {
        ways.push(Certificate::Files);
    }
    let wishes = ways.len();
    ways.push(Certificate::None);
    let mut faults = String::new();
    for (index, certificate) in ways.into_iter().enumerate() {
        let toml = writing::write(meaning, certificate, mode, from);
        match check(&toml)? {
            Ok(()) => {
                remark(meaning, certificate, mode, (index == wishes).then_some(faults.as_str()));
                return Ok(toml);
            }
            Err(why) => faults = why,
        }
    }
    Err(anyhow!("what {from} says makes no configuration that stands: {faults}"))
}

/// What differs from before.
fn remark(meaning: &mut Meaning, certificate: Certificate<'_>, mode: ModeArgument, faults: Option<&str>) {
    let passes_at = meaning.passes_at.unwrap_or(1);
    let certificate_at = meaning.certificate.as_ref().map_or(passes_at, |(_, _, line)| *line);
    let mut add =
        |line, what: &str, why: String| meaning.left.push(Left { line, what: what.to_owned(), why });
    match (certificate, faults.filter(|faults| !faults.is_empty())) {
        (Certificate::Files, _) => add(
            certificate_at,
            "ssl_certificate_key",
            "the user that runs Waypost must be able to read it; certbot lets only root do so, so copy it with a deploy hook, or import with --email and let Waypost get its own".to_owned(),
        ),
        (Certificate::None, Some(faults)) => {
            add(certificate_at, "ssl_certificate", format!("HTTPS is off until there is a certificate: {faults}"));
        }
        (Certificate::None, None) => add(
            certificate_at,
            "server",
            "it has no certificate, so HTTPS is off; Meta calls nothing but HTTPS".to_owned(),
        ),
        (Certificate::Acme(_), _) => {}
    }
    if matches!(mode, ModeArgument::Store) {
        add(
            passes_at,
            "proxy_pass",
            "nginx passed calls through; `mode = \"store\"` keeps them first, answers 200 and delivers after. --mode relay does as nginx did".to_owned(),
        );
    }
    meaning.left.sort_by_key(|left| left.line);
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(anyhow!("it is larger than 1 MiB"));
    }
    // What is not UTF-8 can only be in comments, or is reported where it stands.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes a file that was not there.
fn write_anew(path: &Path, text: &str) -> std::io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

/// Whether `waypost check` would let it stand; if not, all that is wrong.
fn check(toml: &str) -> anyhow::Result<Result<(), String>> {
    let path = std::env::temp_dir().join(format!("waypost-import-{}.toml", chance::hex::<8>()?));
    write_anew(&path, toml).with_context(|| format!("cannot write {}", path.display()))?;
    let mut inputs = Inputs::of(Env::fixed([]));
    inputs.config_path = Some(path.clone());
    let loaded = config::load(&inputs);
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    Ok(match loaded {
        Ok(_) => Ok(()),
        Err(refused) => {
            let faults = refused.faults.iter().map(|fault| fault.what.as_str());
            Err(faults.collect::<Vec<_>>().join("; "))
        }
    })
}
