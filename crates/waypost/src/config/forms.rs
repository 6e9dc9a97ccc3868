//! What single values look like: from text to value, or what is wrong with it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::uri::PathAndQuery;
use waypost_domain::{Origin, UpstreamHost, limits};
use waypost_engine::sender::StandardSecret;

use super::finding::shown;
use super::units::{duration, written};
use super::{Batches, Fallback, Format, Kind, Mode, Patience, ReceiverUrl};

/// What is wrong with a value, and what to do: the two sentences of a finding.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) remedy: String,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// A name that certificates can be had for: a host without a port.
pub(super) fn domain(text: &str) -> Result<String, Wrong> {
    const REMEDY: &str = "Write the host name alone, like proxy.example.com";
    let host = bare_host(text, REMEDY)?;
    match host.port() {
        Some(_) => Err(Wrong::new("a domain has no port", REMEDY)),
        None => Ok(host.as_str().to_owned()),
    }
}

/// Names that certificates can be had for, comma separated.
pub(super) fn domains(text: &str) -> Result<Vec<String>, Wrong> {
    if text.split(',').nth(ADDRESSES_MAX).is_some() {
        return Err(Wrong::new(format!("more than {ADDRESSES_MAX} names"), "Name fewer"));
    }
    text.split(',').map(|name| domain(name.trim())).collect()
}

/// An address to listen on.
pub(super) fn address(text: &str) -> Result<SocketAddr, Wrong> {
    text.trim().parse().map_err(|_| {
        Wrong::new(
            format!("{} is not an address to listen on", shown(text)),
            "Write an IP address and a port, like 127.0.0.1:8080, 0.0.0.0:80 or [::]:443",
        )
    })
}

/// Addresses to listen on, comma separated; `none` for none at all.
pub(super) fn addresses(text: &str) -> Result<Vec<SocketAddr>, Wrong> {
    if text.trim() == "none" {
        return Ok(Vec::new());
    }
    if text.split(',').nth(ADDRESSES_MAX).is_some() {
        return Err(Wrong::new(format!("more than {ADDRESSES_MAX} addresses"), "Name fewer"));
    }
    text.split(',').map(address).collect()
}

/// Addresses that one text may name.
const ADDRESSES_MAX: usize = 64;

/// An upstream's host.
pub(super) fn host(text: &str) -> Result<UpstreamHost, Wrong> {
    if text.eq_ignore_ascii_case(".well-known") {
        return Err(Wrong::new(
            "`.well-known` cannot be an upstream: certificates are proved with addresses under it",
            "Write the receiver's host",
        ));
    }
    let host = bare_host(
        text,
        "Write the host as callers will write it, like chatwoot.example.com or chatwoot.example.com:8443",
    )?;
    if host.as_str() == "w" {
        return Err(Wrong::new(
            "`w` cannot be an upstream: /w/… is where sources are called",
            "Give it a longer name and write where it is as origin",
        ));
    }
    Ok(host)
}

/// A host with what is most often written around it named as such.
fn bare_host(text: &str, remedy: &str) -> Result<UpstreamHost, Wrong> {
    let what = if text.contains("://") {
        "a host has no scheme in front of it".to_owned()
    } else if text.contains('/') {
        "a host has no path after it".to_owned()
    } else {
        match text.parse() {
            Ok(host) => return Ok(host),
            Err(error) => format!("not a host: {error}"),
        }
    };
    Err(Wrong::new(what, remedy))
}

/// Where an upstream really is.
pub(super) fn origin(text: &str) -> Result<Origin, Wrong> {
    text.parse().map_err(|error| {
        Wrong::new(
            format!("not an origin: {error}"),
            "Write scheme, host and port, like https://10.0.0.7:8443 or http://localhost:3000",
        )
    })
}

/// `HOST` or `HOST=ORIGIN`.
pub(super) fn allowed(text: &str) -> Result<(UpstreamHost, Option<Origin>), Wrong> {
    match text.trim().split_once('=') {
        Some((name, place)) => Ok((host(name.trim())?, Some(origin(place.trim())?))),
        None => Ok((host(text.trim())?, None)),
    }
}

/// An upstream's mode.
pub(super) fn mode(text: &str) -> Result<Mode, Wrong> {
    match text {
        "store" => Ok(Mode::Store),
        "relay" => Ok(Mode::Relay),
        _ => Err(Wrong::new(
            format!("{} is not a mode", shown(text)),
            "Write \"store\" (answer at once, deliver after) or \"relay\" (pass through)",
        )),
    }
}

/// What a relay does where the receiver cannot be reached.
pub(super) fn fallback(text: &str) -> Result<Fallback, Wrong> {
    match text {
        "none" => Ok(Fallback::None),
        "store" => Ok(Fallback::Store),
        _ => Err(Wrong::new(
            format!("{} is not a fallback", shown(text)),
            "Write \"store\" (answer at once, deliver after) or \"none\"",
        )),
    }
}

/// A destination's kind.
pub(super) fn kind(text: &str) -> Result<Kind, Wrong> {
    match text {
        "http" => Ok(Kind::Http),
        "chatwoot" => Ok(Kind::Chatwoot),
        _ => Err(Wrong::new(format!("{} is not a kind", shown(text)), "Write \"http\" or \"chatwoot\"")),
    }
}

/// In what form batches go.
pub(super) fn batches(text: &str) -> Result<Batches, Wrong> {
    match text {
        "whole" => Ok(Batches::Whole),
        "split" => Ok(Batches::Split),
        _ => Err(Wrong::new(
            format!("{} is not a form of batches", shown(text)),
            "Write \"split\" (one event at a time) or \"whole\" (as they came, where all is for it)",
        )),
    }
}

/// In what shape a destination takes events.
pub(super) fn format(text: &str) -> Result<Format, Wrong> {
    match text {
        "meta" => Ok(Format::Meta),
        "event" => Ok(Format::Event),
        _ => Err(Wrong::new(
            format!("{} is not a format", shown(text)),
            "Write \"meta\" (as Meta wrote it) or \"event\" (normalised events, one at a time)",
        )),
    }
}

/// Longest name.
const NAME_BYTES_MAX: usize = 64;

/// The name of a source, a destination or a route.
pub(super) fn name(text: &str) -> Result<String, Wrong> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if plain && starts && text.len() <= NAME_BYTES_MAX {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(
        format!("{} is not a name", shown(text)),
        "Write up to 64 letters, digits, -, _ and dots, a letter or digit first",
    ))
}

/// Fewest characters of a source's token: 22 of 64 kinds are 132 bits.
const TOKEN_BYTES_MIN: usize = 22;
/// Longest token of a source.
const TOKEN_BYTES_MAX: usize = 128;

/// A source's token. No fault repeats it.
pub(super) fn token(text: &str) -> Result<(), Wrong> {
    const REMEDY: &str = "Write 22 to 128 letters, digits, - and _ that cannot be guessed, made with `openssl rand -hex 16`; or have `waypost source add` make one";
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Err(Wrong::new("the token has characters that an address would have to escape", REMEDY));
    }
    if !(TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&text.len()) {
        return Err(Wrong::new(format!("the token has {} characters", text.len()), REMEDY));
    }
    Ok(())
}

/// A receiver's whole address. What may be a secret in it is not repeated.
pub(super) fn url(text: &str) -> Result<ReceiverUrl, Wrong> {
    const REMEDY: &str = "Write it whole, like https://support.example.com/webhooks/whatsapp/%2B15551234567";
    let wrong = |what: String| Err(Wrong::new(what, REMEDY));
    if text.contains('#') {
        return wrong("what follows a # never reaches a receiver".to_owned());
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong("it has spaces or characters that must be escaped".to_owned());
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return wrong("it has no https:// or http:// in front".to_owned());
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return wrong("it names a user, and none is ever sent".to_owned());
    }
    let origin: Result<Origin, _> = format!("{}://{authority}", scheme.to_ascii_lowercase()).parse();
    let (origin, host) = match (origin, authority.parse::<UpstreamHost>()) {
        (Ok(origin), Ok(host)) => (origin, host),
        (Err(error), _) => return wrong(format!("not an address: {error}")),
        (_, Err(error)) => return wrong(format!("not an address: {error}")),
    };
    let path = match path.as_bytes() {
        [b'/', ..] => path.to_owned(),
        _ => format!("/{path}"),
    };
    if path.len() > limits::TARGET_BYTES_MAX {
        return wrong(format!("its path is longer than {} characters", limits::TARGET_BYTES_MAX));
    }
    match PathAndQuery::try_from(path.as_str()) {
        Ok(target) if target.as_str() == path => {
            Ok(ReceiverUrl { text: text.to_owned(), origin, host, path_and_query: target })
        }
        _ => wrong("its path has characters that must be escaped".to_owned()),
    }
}

/// A secret in the form of Standard Webhooks: `whsec_` and base64. No fault repeats it.
pub(super) fn webhook_secret(text: &str) -> Result<(), Wrong> {
    const REMEDY: &str =
        "Write whsec_ and 24 to 64 random bytes in base64, as in whsec_$(openssl rand -base64 32)";
    StandardSecret::parse(text).map(drop).map_err(|error| Wrong::new(error.to_string(), REMEDY))
}

/// A prefix of paths that can match: one that the edge would refuse is a mistake.
pub(super) fn path_prefix(text: &str) -> Result<String, Wrong> {
    const REMEDY: &str = "Write how the path begins, byte for byte, like /webhooks/";
    let wrong = |what: &str| Err(Wrong::new(format!("{} {what}", shown(text)), REMEDY));
    let lower = text.to_ascii_lowercase();
    if !text.starts_with('/') {
        return wrong("does not start with a slash");
    }
    if text.contains(['?', '#', '\\']) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong("has characters that no path has");
    }
    if lower.contains("%2f") || lower.contains("%5c") {
        return wrong("has an encoded slash, which is always refused");
    }
    if lower.replace("%2e", ".").split('/').any(|segment| segment == "." || segment == "..") {
        return wrong("has a dot segment, which is always refused");
    }
    Ok(text.to_owned())
}

/// The store's file, from `sqlite:PATH`.
pub(super) fn storage(text: &str) -> Result<PathBuf, Wrong> {
    const REMEDY: &str = "Write \"sqlite:PATH\", like \"sqlite:waypost-data/waypost.db\"";
    // The rest is not repeated: addresses of databases hold passwords.
    let path = match text.split_once(':') {
        Some(("sqlite", path)) => path.strip_prefix("//").unwrap_or(path),
        Some(("postgres" | "postgresql", _)) => {
            return Err(Wrong::new("postgres is not available in this build", REMEDY));
        }
        Some(("mysql" | "mariadb", _)) => return Err(Wrong::new("no store of that kind exists", REMEDY)),
        _ => return Err(Wrong::new("not the address of a store", REMEDY)),
    };
    if path.is_empty() || path.ends_with('/') {
        return Err(Wrong::new("no file is named", REMEDY));
    }
    if path == ":memory:" {
        return Err(Wrong::new("a store in memory would lose what was acknowledged", REMEDY));
    }
    if path.contains(['?', '\0']) {
        return Err(Wrong::new("the store's path takes no parameters", REMEDY));
    }
    Ok(PathBuf::from(path))
}

/// A mail address, as far as a typing mistake can be told.
pub(super) fn mail(text: &str) -> Result<String, Wrong> {
    match text.split_once('@') {
        Some((name, host)) if !name.is_empty() && host.parse::<UpstreamHost>().is_ok() => Ok(text.to_owned()),
        _ => Err(Wrong::new("not a mail address", "Write one like ops@example.com")),
    }
}

/// How long a failing delivery holds its lane.
pub(super) fn patience(text: &str) -> Result<Patience, Wrong> {
    match text {
        "none" => Ok(Patience::None),
        "forever" => Ok(Patience::Forever),
        _ => match between(Duration::ZERO, LONGEST)(text)? {
            Duration::ZERO => Ok(Patience::None),
            patience => Ok(Patience::For(patience)),
        },
    }
}

/// Longer than any schedule needs; keeps sums of durations far from overflow.
pub(super) const LONGEST: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// A duration from `least` to `most`.
pub(super) fn between(least: Duration, most: Duration) -> impl Fn(&str) -> Result<Duration, Wrong> {
    move |text| {
        let value = duration(text)?;
        if (least..=most).contains(&value) {
            return Ok(value);
        }
        Err(Wrong::new(
            format!("{} is out of range", shown(text)),
            format!("Give a duration from {} to {}", written(least), written(most)),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_a_file_of_sqlite() {
        for (text, path) in [
            ("sqlite:waypost-data/waypost.db", "waypost-data/waypost.db"),
            ("sqlite:/var/lib/waypost.db", "/var/lib/waypost.db"),
            ("sqlite:///var/lib/waypost.db", "/var/lib/waypost.db"),
            ("sqlite://waypost.db", "waypost.db"),
        ] {
            assert_eq!(storage(text).unwrap(), PathBuf::from(path), "{text}");
        }
        for text in [
            "",
            "waypost.db",
            "sqlite:",
            "sqlite://",
            "sqlite::memory:",
            "sqlite:a?mode=ro",
            "sqlite:a/",
            "redis:x",
        ] {
            assert!(storage(text).is_err(), "{text:?} was accepted");
        }
        let wrong = storage("postgres://user:hunter2@db/waypost").unwrap_err();
        assert_eq!(wrong.what, "postgres is not available in this build");
        assert!(!wrong.remedy.contains("hunter2"));
    }

    #[test]
    fn a_prefix_that_could_never_match_is_refused() {
        for text in ["/", "/webhooks/", "/webhooks/whatsapp/%2B1555", "/a//b", "/..a"] {
            assert!(path_prefix(text).is_ok(), "{text:?} was refused");
        }
        for text in
            ["", "webhooks", "/a?b", "/a#b", "/a b", "/ä", "/a\\b", "/a%2Fb", "/a/../b", "/%2e%2E/", "/."]
        {
            assert!(path_prefix(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn addresses_are_listed_with_commas() {
        assert_eq!(addresses("127.0.0.1:0, [::1]:80").unwrap().len(), 2);
        assert!(addresses("none").unwrap().is_empty());
        for text in ["", "8080", ":8080", "localhost:8080", "127.0.0.1", "127.0.0.1:80,", "127.0.0.1:99999"] {
            assert!(addresses(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_domain_is_a_bare_host_name() {
        assert_eq!(domain("Proxy.Example.com").unwrap(), "proxy.example.com");
        for text in ["", "https://proxy.example.com", "proxy.example.com:443", "proxy.example.com/"] {
            assert!(domain(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn patience_is_a_duration_or_a_word() {
        assert_eq!(patience("none").unwrap(), Patience::None);
        assert_eq!(patience("0s").unwrap(), Patience::None);
        assert_eq!(patience("forever").unwrap(), Patience::Forever);
        assert_eq!(patience("2m").unwrap(), Patience::For(Duration::from_secs(120)));
        assert!(patience("always").is_err());
        assert!(patience("91d").is_err());
    }
}
