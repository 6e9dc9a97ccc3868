//! What an nginx configuration means to a gateway, and what of it cannot be carried over.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use waypost_domain::{Origin, UpstreamHost};

use super::allowing::{Guard, Map};
use super::syntax::Directive;

/// nginx's own folder, from which it takes relative paths.
const PREFIX: &str = "/etc/nginx";
/// Of a directive that is shown.
const SHOWN_CHARS_MAX: usize = 80;
/// What Meta's largest body needs; less is not carried over.
const BODY_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// What was understood, and what was not.
#[derive(Default, Debug)]
pub(super) struct Meaning {
    pub(super) domain: Option<String>,
    pub(super) http: Vec<SocketAddr>,
    pub(super) https: Vec<SocketAddr>,
    /// Certificate and key, and the line they are on.
    pub(super) certificate: Option<(String, String, usize)>,
    pub(super) receivers: Vec<Receiver>,
    /// The line of the first `proxy_pass`.
    pub(super) passes_at: Option<usize>,
    pub(super) connect_timeout: Option<String>,
    pub(super) timeout: Option<String>,
    pub(super) ca_file: Option<String>,
    pub(super) body_bytes_max: Option<u64>,
    /// In the order of the file, once sorted.
    pub(super) left: Vec<Left>,
}

/// A receiver that nginx lets calls through to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Receiver {
    pub(super) host: UpstreamHost,
    /// Where it really is, if not where its name says.
    pub(super) origin: Option<Origin>,
    pub(super) line: usize,
}

/// Something that was not carried over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Left {
    pub(super) line: usize,
    /// The directive.
    pub(super) what: String,
    pub(super) why: String,
}

/// Reads the whole.
pub(super) fn understand(directives: &[Directive]) -> Meaning {
    let mut meaning = Meaning::default();
    let mut maps = Vec::new();
    let mut servers = Vec::new();
    for directive in directives {
        match directive.name() {
            "http" => directive.inside().iter().for_each(|inner| meaning.top(inner, &mut maps, &mut servers)),
            _ => meaning.top(directive, &mut maps, &mut servers),
        }
    }
    // The server that passes calls on is the gateway; the one that sends callers to HTTPS is built in.
    for server in &servers {
        meaning.server(server, &maps);
    }
    for map in maps.iter().filter(|map| !map.is_used()) {
        meaning.leave(map.directive, "nothing that passes calls on asks it");
    }
    meaning.left.sort_by_key(|left| left.line);
    meaning
}

impl Meaning {
    pub(super) fn leave(&mut self, directive: &Directive, why: impl Into<String>) {
        let text = directive.words.join(" ");
        let mut what: String = text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
        if what.is_empty() || text.chars().count() > SHOWN_CHARS_MAX {
            what.push('…');
        }
        self.left.push(Left { line: directive.line, what, why: why.into() });
    }

    fn top<'d>(
        &mut self,
        directive: &'d Directive,
        maps: &mut Vec<Map<'d>>,
        servers: &mut Vec<&'d Directive>,
    ) {
        match directive.name() {
            "map" => maps.push(Map::of(directive)),
            "server" => servers.push(directive),
            _ => self.common(directive),
        }
    }

    /// A server: the gateway if it passes calls on.
    fn server(&mut self, server: &Directive, maps: &[Map<'_>]) {
        let passes = server.inside().iter().any(|inner| inner.name() == "location" && passes_on(inner));
        let redirects = server.inside().iter().any(is_redirect_to_https);
        if !passes && !redirects {
            self.leave(server, "this server neither passes calls on nor sends callers to HTTPS");
            return;
        }
        let (mut certificate, mut key) = (None, None);
        for directive in server.inside() {
            match directive.name() {
                "listen" => self.listen(directive),
                "server_name" => self.names(directive, passes),
                "ssl_certificate" => {
                    certificate = directive.arguments().first().map(|path| (path, directive.line))
                }
                "ssl_certificate_key" => key = directive.arguments().first(),
                "location" if passes_on(directive) => self.location(directive, maps),
                "location" if is_built_in(directive) => {}
                "location" => self.leave(directive, "nothing but what is passed on is served"),
                "return" if is_redirect_to_https(directive) => {}
                "if" if directive.inside().iter().all(|inner| inner.name() == "return") => {
                    self.leave(directive, "HTTP is always sent to HTTPS, and other names are refused by TLS");
                }
                _ => self.common(directive),
            }
        }
        match (certificate, key) {
            (Some((certificate, line)), Some(key)) if self.certificate.is_none() => {
                self.certificate = Some((absolute(certificate), absolute(key), line));
            }
            (Some(_), Some(_)) => self.leave(server, "there is one certificate only: the first server's"),
            (None, None) => {}
            _ => self.leave(server, "a certificate without its key, or a key without its certificate"),
        }
    }

    fn listen(&mut self, directive: &Directive) {
        let [address, parameters @ ..] = directive.arguments() else {
            return self.leave(directive, "it names no address");
        };
        let Some(address) = socket_address(address) else {
            return self.leave(directive, "only addresses of numbers and ports can be listened on");
        };
        let list = if parameters.iter().any(|word| word == "ssl") { &mut self.https } else { &mut self.http };
        if !list.contains(&address) {
            list.push(address);
        }
        const UNDERSTOOD: &[&str] =
            &["ssl", "http2", "default_server", "default", "reuseport", "deferred", "ipv6only=on"];
        if let Some(word) = parameters.iter().find(|word| !UNDERSTOOD.contains(&word.as_str())) {
            self.leave(directive, format!("`{}` of it is not carried over", word.escape_debug()));
        }
    }

    fn names(&mut self, directive: &Directive, passes: bool) {
        for name in directive.arguments() {
            let is_name =
                name.contains('.') && name.parse::<UpstreamHost>().is_ok_and(|host| host.port().is_none());
            let name = name.to_ascii_lowercase();
            match &self.domain {
                Some(domain) if *domain == name => {}
                _ if name == "_" || name.is_empty() => {}
                _ if !is_name => {
                    let why = format!("`{}` is a pattern; the gateway has one name", name.escape_debug());
                    self.leave(directive, why);
                }
                None => self.domain = Some(name),
                Some(_) if !passes => {}
                Some(domain) => {
                    let why = format!(
                        "the gateway has one name, {domain}; `{name}` needs another gateway, or Meta the one name"
                    );
                    self.leave(directive, why);
                }
            }
        }
    }

    /// A location that passes calls on.
    fn location(&mut self, location: &Directive, maps: &[Map<'_>]) {
        let mut guards = Vec::new();
        let mut target = None;
        let mut is_verified = false;
        for directive in location.inside() {
            match directive.name() {
                "set" => {}
                "if" => match Guard::of(directive) {
                    Some(guard) => guards.push(guard),
                    None => {
                        self.leave(directive, "conditions other than an allow-list's are not carried over")
                    }
                },
                "proxy_pass" => target = directive.arguments().first().map(|target| (directive, target)),
                "proxy_set_header" => self.header(directive),
                "proxy_ssl_server_name" if directive.arguments() == ["on"] => {}
                "proxy_ssl_verify" if directive.arguments() == ["on"] => is_verified = true,
                "location" => self.leave(directive, "locations within locations are not read"),
                _ => self.common(directive),
            }
        }
        let Some((directive, target)) = target else { return };
        self.passes_at.get_or_insert(directive.line);
        if target.starts_with("https:") && !is_verified {
            self.leave(directive, "nginx did not verify the receivers' certificates, and Waypost does: one that is not a public authority's needs ca_file");
        }
        let rest = target.split_once("://").map_or(target.as_str(), |(_, rest)| rest);
        if rest.starts_with('$') {
            self.listed(directive, target, &guards, maps);
        } else {
            self.fixed(location, directive, target);
        }
    }

    /// Receivers that a map lists.
    fn listed(&mut self, directive: &Directive, target: &str, guards: &[Guard], maps: &[Map<'_>]) {
        if !target.starts_with("https://") {
            self.leave(directive, "the receivers are called over HTTPS, not as written here; where one speaks plain HTTP, give it an origin");
        }
        let guarded = guards.iter().find_map(|guard| {
            let map = maps.iter().find(|map| map.output() == guard.variable)?;
            Some((guard, map))
        });
        let Some((guard, map)) = guarded else {
            return self.leave(directive, "no allow-list stands before it, so every host of the internet was called; name yours with [[upstream]]");
        };
        map.used.set(true);
        if !guard.refuses(map.default()) {
            self.leave(
                map.directive,
                "its default let every host through; only those it lists are carried over",
            );
        }
        for entry in map.entries() {
            let refused = guard.refuses(entry.value);
            match (entry.host(), refused) {
                (_, true) => {}
                (Ok(host), false) => self.receive(entry.directive, host, None),
                (Err(why), false) => self.leave(entry.directive, why),
            }
        }
        for directive in map.others() {
            self.leave(directive, "part of an allow-list that lies elsewhere; add those hosts by hand");
        }
    }

    /// One receiver under a path of its own: `location /HOST/ { proxy_pass ORIGIN/; }`.
    fn fixed(&mut self, location: &Directive, directive: &Directive, target: &str) {
        let path = match location.arguments() {
            [path] => path,
            [modifier, path] if modifier == "^~" => path,
            _ => {
                return self.leave(directive, "a fixed receiver behind a pattern; name it with [[upstream]]");
            }
        };
        let host =
            path.strip_prefix('/').and_then(|path| path.strip_suffix('/')).map(str::parse::<UpstreamHost>);
        let Some(Ok(host)) = host else {
            return self.leave(
                directive,
                "the path is not /HOST/, by which a gateway tells receivers apart; name it with [[upstream]]",
            );
        };
        // With a slash nginx puts the rest of the path in the place of the location's, as a gateway does.
        let Some(origin) = target.strip_suffix('/').map(str::parse::<Origin>) else {
            return self
                .leave(directive, "the receiver sees the host in its path here, and would not with Waypost");
        };
        match origin {
            Ok(origin) => {
                let origin = (origin != Origin::of(&host)).then_some(origin);
                self.receive(directive, host, origin);
            }
            Err(error) => self.leave(directive, format!("not an origin: {error}")),
        }
    }

    fn receive(&mut self, directive: &Directive, host: UpstreamHost, origin: Option<Origin>) {
        if self.receivers.iter().any(|receiver| receiver.host == host) {
            return self.leave(directive, "it is listed already");
        }
        self.receivers.push(Receiver { host, origin, line: directive.line });
    }

    fn header(&mut self, directive: &Directive) {
        const BUILT_IN: &[&str] = &[
            "host",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-real-ip",
            "connection",
            "upgrade",
            "accept-encoding",
        ];
        let name = directive.arguments().first().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
        if !BUILT_IN.contains(&name.as_str()) {
            self.leave(directive, "headers of one's own cannot be added");
        }
    }

    /// What may stand anywhere.
    fn common(&mut self, directive: &Directive) {
        let first = directive.arguments().first().map(String::as_str).unwrap_or_default();
        match directive.name() {
            "proxy_connect_timeout" => match duration(first) {
                Some(time) => self.connect_timeout = Some(time),
                None => self.leave(directive, "not a time from 1 s to 2 minutes"),
            },
            "proxy_read_timeout" => match duration(first) {
                Some(time) => self.timeout = Some(time),
                None => self.leave(directive, "not a time from 1 s to 2 minutes"),
            },
            "client_max_body_size" => match bytes(first) {
                Some(bytes) if (BODY_BYTES_MIN..=64 * 1024 * 1024).contains(&bytes) => {
                    self.body_bytes_max = Some(bytes)
                }
                Some(_) => {
                    self.leave(directive, "Meta sends up to 3 MB, so Waypost's own limit of 4 MiB stays")
                }
                None => self.leave(directive, "not a size"),
            },
            "proxy_ssl_trusted_certificate" => self.ca_file = Some(absolute(first)),
            "include" => self.leave(directive, "the file is not read; import it too, or copy what matters"),
            name => self.leave(directive, why_not(name)),
        }
    }
}

/// Why a directive has no counterpart.
fn why_not(name: &str) -> &'static str {
    match name {
        "resolver" | "resolver_timeout" => {
            "names are looked up with this machine's own resolver (/etc/resolv.conf), anew every few seconds"
        }
        "user"
        | "worker_processes"
        | "worker_rlimit_nofile"
        | "events"
        | "pid"
        | "load_module"
        | "daemon" => "about nginx's own processes; the service's unit says who runs Waypost",
        "access_log" | "error_log" | "log_format" => "Waypost logs to standard error, which systemd keeps",
        "add_header" => "answers have no headers of one's own",
        "limit_req" | "limit_conn" | "limit_req_zone" | "limit_conn_zone" => {
            "Meta calls in bursts from many addresses, so nothing is limited; [limits] bounds connections"
        }
        "allow" | "deny" => "callers are told by their signature, not their address: app_secrets",
        "auth_basic" | "auth_basic_user_file" | "auth_request" => {
            "Meta sends no password: app_secrets proves callers"
        }
        "rewrite" => "paths go to the receiver as they came",
        "upstream" => "several servers of one receiver: give the receiver an origin in front of them",
        name if name.starts_with("ssl_") => "TLS 1.2 and 1.3 with modern ciphers are always what is offered",
        name if name.starts_with("proxy_") => "a matter of how nginx passes calls on",
        name if name.starts_with("gzip") => "Meta's bodies and their answers go on as they are",
        _ => "unknown to this import",
    }
}

fn passes_on(location: &Directive) -> bool {
    location.inside().iter().any(|inner| inner.name() == "proxy_pass")
}

/// A location that Waypost has anyway: challenges, the redirect, what answers 404.
fn is_built_in(location: &Directive) -> bool {
    let path = location.arguments().last().map(String::as_str).unwrap_or_default();
    let only_returns = |status: &str| {
        let is_return = |inner: &Directive| inner.name() == "return" && inner.arguments() == [status];
        !location.inside().is_empty() && location.inside().iter().all(is_return)
    };
    path.starts_with("/.well-known/acme-challenge")
        || only_returns("404")
        || location.inside().iter().any(is_redirect_to_https)
}

/// Whether it sends callers to HTTPS, itself or by a location.
fn is_redirect_to_https(directive: &Directive) -> bool {
    match directive.name() {
        "return" => directive.arguments().last().is_some_and(|to| to.starts_with("https://")),
        "location" => directive.inside().iter().any(is_redirect_to_https),
        _ => false,
    }
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{PREFIX}/{path}") }
}

/// `80`, `127.0.0.1:80`, `[::]:443`, `*:80`.
fn socket_address(text: &str) -> Option<SocketAddr> {
    if let Ok(port) = text.parse() {
        return Some((Ipv4Addr::UNSPECIFIED, port).into());
    }
    if let Some(port) = text.strip_prefix("*:") {
        return Some((Ipv4Addr::UNSPECIFIED, port.parse().ok()?).into());
    }
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(six) => Some((six.parse::<Ipv6Addr>().ok()?, 80).into()),
        None => Some((text.parse::<Ipv4Addr>().ok()?, 80).into()),
    }
}

/// A time of nginx's (`5`, `5s`, `2m`) as one of Waypost's.
fn duration(text: &str) -> Option<String> {
    let (number, factor) = match text.strip_suffix("ms") {
        Some(_) => return None,
        None => match text.strip_suffix('m') {
            Some(minutes) => (minutes, 60),
            None => (text.strip_suffix('s').unwrap_or(text), 1),
        },
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(factor)?;
    (1..=120).contains(&seconds).then(|| format!("{seconds}s"))
}

/// A size of nginx's (`1024`, `8k`, `4m`, `1g`).
fn bytes(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (number, factor) = match lower.strip_suffix(['k', 'm', 'g']) {
        Some(number) => (
            number,
            if lower.ends_with('k') {
                1 << 10
            } else if lower.ends_with('m') {
                1 << 20
            } else {
                1 << 30
            },
        ),
        None => (lower.as_str(), 1),
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}
