//! Promises of the import.

use proptest::prelude::*;

use super::meaning::{Meaning, understand};
use super::syntax::parse;
use super::writing::{Certificate, write};
use crate::cli::ModeArgument;

/// A proxy as people who have this problem run it.
const PROXY: &str = r#"
# who may be called
map $receiver $receiver_ok {
    default 0;
    chatwoot.example.com 1;
    # chatwoot.gone.example 1;
    "chatwoot.second.example" 1;   # a client
    chatwoot.paused.example 0;
    *.wild.example 1;
}

server {
    listen 80;
    server_name gate.example.net;
    location /.well-known/acme-challenge/ { root /var/www/html; }
    location / { return 301 https://$host$request_uri; }
}

server {
    listen 443 ssl;
    server_name gate.example.net;
    resolver 9.9.9.9 valid=300s;
    resolver_timeout 5s;
    ssl_certificate /nowhere/fullchain.pem;
    ssl_certificate_key /nowhere/privkey.pem;

    location ~ ^/([^/]+)(/.*)$ {
        set $receiver $1;
        set $rest $2;
        if ($receiver_ok = 0) {
            return 403;
        }
        proxy_pass https://$receiver$rest$is_args$args;
        proxy_set_header Host $receiver;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_ssl_server_name on;
        proxy_read_timeout 20s;
    }
    location / { return 404; }
}
"#;

fn meaning(text: &str) -> Meaning {
    understand(&parse(text).unwrap())
}

fn hosts(meaning: &Meaning) -> Vec<&str> {
    meaning.receivers.iter().map(|receiver| receiver.host.as_str()).collect()
}

#[test]
fn the_allow_list_the_name_and_the_certificate_are_carried_over() {
    let read = meaning(PROXY);
    assert_eq!(hosts(&read), ["chatwoot.example.com", "chatwoot.second.example"]);
    assert_eq!(read.domain.as_deref(), Some("gate.example.net"));
    let (chain, key, _) = read.certificate.clone().unwrap();
    assert_eq!((chain.as_str(), key.as_str()), ("/nowhere/fullchain.pem", "/nowhere/privkey.pem"));
    assert_eq!(read.timeout.as_deref(), Some("20s"));
    let toml = write(&read, Certificate::Files, ModeArgument::Store, "proxy.conf");
    let table: toml::Table = toml.parse().unwrap();
    assert_eq!(table["server"]["domain"].as_str(), Some("gate.example.net"));
    assert!(table["server"].get("http").is_none() && table["server"].get("https").is_none(), "{toml}");
    assert_eq!(table["tls"]["private_key"].as_str(), Some("/nowhere/privkey.pem"));
    assert_eq!(table["upstream"].as_array().unwrap().len(), 2);
}

#[test]
fn what_is_not_carried_over_is_listed_with_its_line() {
    let read = meaning(PROXY);
    let lines: Vec<(usize, &str)> =
        read.left.iter().map(|left| (left.line, left.what.split(' ').next().unwrap())).collect();
    assert_eq!(
        lines,
        [(9, "*.wild.example"), (22, "resolver"), (23, "resolver_timeout"), (33, "proxy_pass")]
    );
}

#[test]
fn every_way_to_write_the_guard_is_understood() {
    let with = |default: &str, yes: &str, guard: &str| {
        format!(
            "map $u $ok {{ default {default}; a.example {yes}; b.example {default}; }} server {{ listen 443 ssl; server_name g.example.net; location ~ ^/x {{ if ({guard}) {{ return 403; }} proxy_pass https://$u$p; }} }}"
        )
    };
    for (default, yes, guard) in [
        ("0", "1", "$ok = 0"),
        ("0", "1", "$ok != 1"),
        ("\"\"", "yes", "$ok = \"\""),
        ("no", "yes", "$ok = no"),
        ("1", "0", "$ok"),
        ("1", "''", "$ok"),
    ] {
        let read = meaning(&with(default, yes, guard));
        assert_eq!(hosts(&read), ["a.example"], "{guard}: {:?}", read.left);
    }
    let open = meaning(&with("1", "1", "$ok = 0"));
    assert!(open.left.iter().any(|left| left.why.contains("every host")), "{:?}", open.left);
    let unguarded = meaning("server { listen 443 ssl; location ~ ^/x { proxy_pass https://$u$p; } }");
    assert!(unguarded.receivers.is_empty());
    assert!(unguarded.left.iter().any(|left| left.why.contains("no allow-list")), "{:?}", unguarded.left);
}

#[test]
fn receivers_under_a_path_of_their_own_keep_their_origin() {
    let read = meaning(
        "http { server { listen 8443 ssl http2; listen [::]:8443 ssl; server_name g.example.net other.example.net;
           client_max_body_size 8m; include snippets/tls.conf;
           location /a.example/ { proxy_pass https://a.example/; }
           location ^~ /b.example/ { proxy_pass http://10.0.0.7:3000/; }
           location /c.example/ { proxy_pass https://c.example; }
           location /hooks { proxy_pass https://d.example/; }
           location /e.example/ { proxy_pass http://backend/x; } } }",
    );
    assert_eq!(hosts(&read), ["a.example", "b.example"]);
    assert_eq!(read.receivers[0].origin, None);
    assert_eq!(read.receivers[1].origin.as_ref().unwrap().to_string(), "http://10.0.0.7:3000");
    assert_eq!(read.https.len(), 2);
    assert_eq!(read.body_bytes_max, Some(8 << 20));
    for what in ["include", "server_name", "https://c.example", "https://d.example", "http://backend"] {
        assert!(read.left.iter().any(|left| left.what.contains(what)), "{what} in {:?}", read.left);
    }
    let toml = write(&read, Certificate::None, ModeArgument::Relay, "x");
    assert!(toml.parse::<toml::Table>().is_ok(), "{toml}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_is_read_makes_toml(words in proptest::collection::vec("(map|server|location|listen|server_name|proxy_pass|if|return|default|\\$a|\\$b|~|/|/a.example/|https://\\$a/|https://b.example/|\\(\\$b|= 0\\)|403|\"x\\\\n\"|1|;|;|\\{|\\{|\\}|\\})", 0..60)) {
        if let Ok(directives) = parse(&words.join(" ")) {
            let read = understand(&directives);
            for certificate in [Certificate::Files, Certificate::Acme("a\"b"), Certificate::None] {
                let toml = write(&read, certificate, ModeArgument::Store, "a\nb");
                prop_assert!(toml.parse::<toml::Table>().is_ok(), "{toml}");
            }
        }
    }

    #[test]
    fn any_host_in_the_map_is_carried_over_or_listed(host in "[a-zA-Z0-9.:~*_@/\\[\\]-]{1,40}") {
        prop_assume!(host != "default" && host != "include");
        let text = format!("map $u $ok {{ default 0; {host} 1; }} server {{ listen 443 ssl; location ~ x {{ if ($ok = 0) {{ return 403; }} proxy_pass https://$u$p; }} }}");
        let read = meaning(&text);
        let listed = read.left.iter().any(|left| left.line == 1 && left.what == format!("{host} 1"));
        prop_assert_eq!(read.receivers.len() + usize::from(listed), 1, "{:?}", read);
    }
}
