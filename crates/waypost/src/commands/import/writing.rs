//! The `waypost.toml` that says the same.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use super::meaning::{Meaning, Receiver};
use crate::cli::ModeArgument;

/// Where the certificate comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Certificate<'a> {
    /// The files that nginx showed.
    Files,
    /// An authority, by ACME, for this mail address.
    Acme(&'a str),
    /// Nowhere yet: plain HTTP only.
    None,
}

/// Writes it all. `from` is the name of the file it was.
pub(super) fn write(
    meaning: &Meaning,
    certificate: Certificate<'_>,
    mode: ModeArgument,
    from: &str,
) -> String {
    let mut text = format!("# Made by `waypost import nginx` from {}.\n\n[server]\n", one_line(from));
    let key = |text: &mut String, name: &str, value: &str| {
        let _ = writeln!(text, "{name} = {}", quoted(value));
    };
    if let Some(domain) = &meaning.domain {
        key(&mut text, "domain", domain);
    }
    addresses(&mut text, "http", &meaning.http, 80);
    match certificate {
        Certificate::None => {
            text.push_str("# No certificate could be read when this was made, so HTTPS is off: see [tls] below.\nhttps = []\n");
        }
        _ => addresses(&mut text, "https", &meaning.https, 443),
    }
    match (certificate, &meaning.certificate) {
        (Certificate::Files, Some((chain, private_key, _))) => {
            text.push_str("\n[tls]\n");
            key(&mut text, "certificate", chain);
            key(&mut text, "private_key", private_key);
        }
        (Certificate::Acme(mail), _) => {
            text.push_str("\n[tls]\n");
            key(&mut text, "acme_email", mail);
        }
        (_, Some((chain, private_key, _))) => {
            text.push_str("\n[tls]\n# Once this user may read them, take the # away here, and the line `https = []` above.\n");
            let _ =
                writeln!(text, "#certificate = {}\n#private_key = {}", quoted(chain), quoted(private_key));
        }
        _ => {}
    }
    if let Some(bytes) = meaning.body_bytes_max {
        let _ = writeln!(text, "\n[limits]\nbody_bytes_max = {bytes}");
    }
    for receiver in &meaning.receivers {
        upstream(&mut text, receiver, meaning, mode);
    }
    text
}

fn upstream(text: &mut String, receiver: &Receiver, meaning: &Meaning, mode: ModeArgument) {
    let mode = match mode {
        ModeArgument::Store => "store",
        ModeArgument::Relay => "relay",
    };
    let _ = writeln!(text, "\n[[upstream]]\nhost = {}\nmode = \"{mode}\"", quoted(receiver.host.as_str()));
    if let Some(origin) = &receiver.origin {
        let _ = writeln!(text, "origin = {}", quoted(&origin.to_string()));
    }
    let further = [
        ("ca_file", &meaning.ca_file),
        ("timeout", &meaning.timeout),
        ("connect_timeout", &meaning.connect_timeout),
    ];
    for (name, value) in further {
        if let Some(value) = value {
            let _ = writeln!(text, "{name} = {}", quoted(value));
        }
    }
}

/// Addresses, unless they are what a domain stands for anyway.
fn addresses(text: &mut String, name: &str, addresses: &[SocketAddr], usual: u16) {
    if addresses == [SocketAddr::from((Ipv4Addr::UNSPECIFIED, usual))] {
        return;
    }
    let listed = addresses.iter().map(|address| quoted(&address.to_string())).collect::<Vec<_>>().join(", ");
    let _ = writeln!(text, "{name} = [{listed}]");
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn one_line(text: &str) -> String {
    text.chars().flat_map(char::escape_debug).take(200).collect()
}
