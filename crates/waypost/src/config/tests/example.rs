//! The example that ships, and the keys that the product's pages name, are accepted.

use super::super::{Env, Fallback, Mode, Tls, load};
use super::Folder;

/// Of a pair that was made for this test.
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAgx6eKREItrOlVTHxKCS5q4pBRO7YslA53RkNfSBmd8U=\n-----END PUBLIC KEY-----\n";
const EXAMPLE: &str = include_str!("../../../waypost.example.toml");

#[test]
fn the_example_stands_as_it_is() {
    let folder = Folder::new();
    let loaded = folder.load(EXAMPLE).unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(loaded.config.upstreams[0].host.as_str(), "chatwoot.example.com");
}

#[test]
fn every_line_of_the_example_stands_once_its_mark_is_taken_away() {
    let folder = Folder::new();
    folder.certify("certificate.pem", "private_key.pem");
    folder.certify("ca.pem", "ca_key.pem");
    folder.write("previous_app_secret", "the former one\n");
    folder.write("networks", "203.0.113.0/24\n");
    folder.write("inbox.pem", PUBLIC_KEY);
    let mut shown = 0;
    let uncommented: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|first: char| first.is_ascii_lowercase() || first == '[') => {
                shown += 1;
                key
            }
            _ => line,
        })
        .collect();
    assert_eq!(shown, 79);
    let of_files = |line: &str| line.starts_with("certificate = ") || line.starts_with("private_key = ");
    let without = |leave_out: &dyn Fn(&str) -> bool| {
        let lines: Vec<_> = uncommented.iter().copied().filter(|line| !leave_out(line)).collect();
        let mut inputs = folder.inputs(lines.join("\n"));
        inputs.env = Env::fixed([
            ("META_APP_SECRET", "a"),
            ("META_VERIFY_TOKEN", "b"),
            ("ACME_TOKEN", "an-opaque-token-of-this-length"),
            ("SUPPORT_APP_SECRET", "c"),
            ("OPS_WEBHOOK_SECRET", "whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="),
            ("INBOX_WEBHOOK_SECRET", "whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="),
            ("INBOX_TOKEN_SECRET", "a secret that is thirty-two bytes long or more"),
            ("ACME_EAB_KEY", "a2V5"),
        ]);
        load(&inputs).unwrap_or_else(|refused| panic!("{refused}")).config
    };
    // Certificates come from one place or from the other.
    assert!(matches!(without(&of_files).tls, Some(Tls::Acme(_))));
    let config = without(&|line| line.starts_with("acme_"));
    assert!(matches!(config.tls, Some(Tls::Files(_))));
    // Where it says that it shows defaults, it does.
    let defaults = folder.load(EXAMPLE).unwrap().config;
    assert_eq!(config.limits, defaults.limits);
    assert_eq!(config.retention, defaults.retention);
    assert_eq!((config.stream.public, &*config.stream.audience), (false, "waypost"));
    assert_eq!((config.stream.token_secrets.len(), config.stream.token_public_keys.len()), (1, 1));
    assert_eq!(config.storage.free_bytes_min, Some(waypost_store::FREE_BYTES_MIN));
    assert_eq!(config.upstreams[0].fallback, defaults.upstreams[0].fallback);
    assert_eq!(config.upstreams[0].delivery, defaults.upstreams[0].delivery);
    assert_eq!((config.upstreams[0].app_secrets.len(), config.upstreams[0].verify_tokens.len()), (2, 1));
}

#[test]
fn every_documented_key_is_accepted() {
    let folder = Folder::new();
    folder.certify("cert.pem", "key.pem");
    folder.write("inbox.pem", PUBLIC_KEY);
    let mut inputs = folder.inputs(
        r#"
        [server]
        domain = "proxy.example.com"
        http = "0.0.0.0:80"
        https = "0.0.0.0:443"
        admin = "127.0.0.1:9090"
        [tls]
        certificate = "cert.pem"
        private_key = "key.pem"
        [storage]
        url = "sqlite:waypost-data/waypost.db"
        bytes_max = "1TiB"
        free_bytes_min = 0
        [retention]
        delivered_bodies = "0s"
        records = "1h"
        dead = "3650d"
        quarantined = "1h"
        [limits]
        body_bytes_max = 4194304
        connections_max = 10000
        connections_per_address_max = 5000
        bodies_in_flight_bytes_max = 134217728
        [stream]
        public = true
        allowed_origins = ["https://inbox.example.com", "http://localhost:5173"]
        token_secrets = ["0123456789abcdef0123456789abcdef"]
        token_public_keys = ["inbox.pem"]
        audience = "inbox"
        [[upstream]]
        host = "chatwoot.example.com"
        mode = "relay"
        fallback = "store"
        origin = "https://10.0.0.7:8443"
        ca_file = "cert.pem"
        paths = ["/webhooks/"]
        app_secrets = ["env:META_APP_SECRET"]
        verify_token = "a token"
        allow_private = true
        timeout = "15s"
        connect_timeout = "5s"
        lane_patience = "2m"
        concurrency_max = 64
        rate_max = "50/s"
        schedule = ["5s", "15s", "30s", "1m", "2m", "5m", "10m", "30m", "1h", "2h", "4h", "6h"]
        give_up_after = "8d"
        batches = "split"
        sign_with = "none"
        [[source]]
        name = "acme"
        token = "q7x0m2q7x0m2q7x0m2q7x0m2"
        verify_token = ["a token", "another"]
        app_secrets = ["env:META_APP_SECRET"]
        [[destination]]
        name = "support"
        url = "https://support.example.com/webhooks/whatsapp/%2B15551234567"
        kind = "chatwoot"
        format = "meta"
        batches = "split"
        sign_with = "env:META_APP_SECRET"
        webhook_secrets = ["whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="]
        ca_file = "cert.pem"
        allow_private = true
        timeout = "15s"
        connect_timeout = "5s"
        lane_patience = "2m"
        concurrency_max = 64
        rate_max = "50/s"
        schedule = ["5s"]
        give_up_after = "8d"
        retry_statuses = [422]
        dead_statuses = [410]
        [[route]]
        name = "messages"
        source = "acme"
        match = { phone_number_id = "106540352242922", field = ["messages", "smb_message_echoes"] }
        to = ["support"]
        "#,
    );
    inputs.env = Env::fixed([("META_APP_SECRET", "a")]);
    let config = load(&inputs).unwrap_or_else(|refused| panic!("{refused}")).config;
    assert_eq!((config.upstreams[0].mode, config.upstreams[0].fallback), (Mode::Relay, Fallback::Store));
}
