//! What is said closest to the command wins, and what follows where nothing is said.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use waypost_domain::{RetrySchedule, limits};

use super::super::{
    Config, Env, Inputs, Mode, Patience, Rate, Retention, Tls, TlsFiles, load, parse_duration, restart_needed,
};
use super::{Folder, nothing, stands, upstream_of};

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn with_nothing_said_it_serves_locally_over_plain_http() {
    let config = stands(&nothing());
    assert_eq!(config.server.http, [at("127.0.0.1:8080")]);
    assert_eq!(config.server.https, []);
    assert_eq!(config.server.admin, at("127.0.0.1:9090"));
    assert_eq!(config.data_dir, PathBuf::from("waypost-data"));
    assert_eq!(config.storage.path, PathBuf::from("waypost-data/waypost.db"));
    assert_eq!((&config.tls, config.server.domain(), config.upstreams.len()), (&None, None, 0));
    assert_eq!(config.limits.body_bytes_max, limits::BODY_BYTES_MAX);
    assert_eq!(config.limits.connections_max, limits::CONNECTIONS_MAX);
    assert_eq!(config.limits.connections_per_address_max, limits::CONNECTIONS_PER_ADDRESS_MAX);
    assert_eq!(config.limits.bodies_in_flight_bytes_max, limits::BODIES_IN_FLIGHT_BYTES_MAX);
    assert_eq!((config.storage.bytes_max, config.storage.free_bytes_min), (None, None));
    let kept = waypost_store::Retention::default();
    let Retention { delivered_bodies, records, dead, quarantined } = config.retention;
    assert_eq!((delivered_bodies, records, dead), (kept.delivered_bodies, kept.records, kept.dead));
    assert_eq!(quarantined, kept.quarantined);
}

#[test]
fn bodies_are_kept_no_longer_than_records() {
    let folder = Folder::new();
    let hours = |text: &str| stands(&folder.inputs(text)).retention.delivered_bodies.as_secs() / 3_600;
    assert_eq!(hours("[retention]\nrecords = \"2h\""), 2);
    assert_eq!(hours("[retention]\nrecords = \"60d\""), 72);
    assert_eq!(hours("[retention]\nrecords = \"60d\"\ndelivered_bodies = \"60d\""), 60 * 24);
    assert_eq!(hours("[retention]\ndelivered_bodies = \"0s\""), 0);
}

#[test]
fn an_upstream_by_flag_has_every_default() {
    let mut inputs = nothing();
    inputs.allow = vec!["Chatwoot.Example.com".to_owned()];
    let config = stands(&inputs);
    let [upstream] = &config.upstreams[..] else { panic!("{:?}", config.upstreams) };
    assert_eq!(upstream.host.as_str(), "chatwoot.example.com");
    assert_eq!(upstream.mode, Mode::Store);
    assert_eq!(upstream.origin.to_string(), "https://chatwoot.example.com:443");
    assert_eq!((upstream.origin_explicit, upstream.allow_private), (false, false));
    assert_eq!(upstream.paths, ["/"]);
    assert_eq!((upstream.app_secrets.len(), upstream.verify_tokens.len()), (0, 0));
    assert_eq!(upstream.ca_file, None);
    let delivery = &upstream.delivery;
    assert_eq!(delivery.timeout, Duration::from_secs(15));
    assert_eq!(delivery.connect_timeout, Duration::from_secs(5));
    assert_eq!(delivery.lane_patience, Patience::For(Duration::from_secs(120)));
    assert_eq!((delivery.concurrency_max, delivery.rate_max), (64, None));
    assert_eq!(delivery.schedule, RetrySchedule::default());
}

/// Every layered setting: the flag, the variable, the key, and how the outcome is read.
#[test]
fn flags_go_over_variables_over_the_file_over_defaults() {
    type Flag = fn(&mut Inputs);
    type Outcome = fn(&Config) -> String;
    struct Layered {
        flag: Option<Flag>,
        variables: &'static [(&'static str, &'static str)],
        file: &'static str,
        outcome: Outcome,
        by_flag: &'static str,
        by_variable: &'static str,
        by_file: &'static str,
        by_default: &'static str,
    }
    let table = [
        Layered {
            flag: Some(|inputs| inputs.listen = Some("127.0.0.1:1".to_owned())),
            variables: &[("WAYPOST_LISTEN", "127.0.0.1:2"), ("WAYPOST_HTTP", "127.0.0.1:3")],
            file: "[server]\nhttp = \"127.0.0.1:4\"",
            outcome: |config| format!("{:?}", config.server.http),
            by_flag: "[127.0.0.1:1]",
            by_variable: "[127.0.0.1:2]",
            by_file: "[127.0.0.1:4]",
            by_default: "[127.0.0.1:8080]",
        },
        Layered {
            flag: None,
            variables: &[("WAYPOST_HTTP", "127.0.0.1:3, [::1]:3")],
            file: "[server]\nhttp = [\"127.0.0.1:4\", \"127.0.0.1:5\"]",
            outcome: |config| format!("{:?}", config.server.http),
            by_flag: "",
            by_variable: "[127.0.0.1:3, [::1]:3]",
            by_file: "[127.0.0.1:4, 127.0.0.1:5]",
            by_default: "[127.0.0.1:8080]",
        },
        Layered {
            flag: Some(|inputs| inputs.admin = Some("127.0.0.1:1".to_owned())),
            variables: &[("WAYPOST_ADMIN", "127.0.0.1:2")],
            file: "[server]\nadmin = \"127.0.0.1:3\"",
            outcome: |config| config.server.admin.to_string(),
            by_flag: "127.0.0.1:1",
            by_variable: "127.0.0.1:2",
            by_file: "127.0.0.1:3",
            by_default: "127.0.0.1:9090",
        },
        Layered {
            flag: Some(|inputs| inputs.data = Some("by-flag".into())),
            variables: &[("WAYPOST_DATA", "by-variable")],
            file: "[storage]\nurl = \"sqlite:by-file/events.db\"",
            outcome: |config| config.data_dir.display().to_string(),
            by_flag: "by-flag",
            by_variable: "by-variable",
            by_file: "by-file",
            by_default: "waypost-data",
        },
        Layered {
            flag: None,
            variables: &[("WAYPOST_DOMAIN", "variable.example.com"), ("WAYPOST_HTTPS", "none")],
            file: "[server]\ndomain = \"file.example.com\"\nhttps = []",
            outcome: |config| format!("{:?}", config.server.domain()),
            by_flag: "",
            by_variable: "Some(\"variable.example.com\")",
            by_file: "Some(\"file.example.com\")",
            by_default: "None",
        },
    ];
    for Layered { flag, variables, file, outcome, by_flag, by_variable, by_file, by_default } in table {
        let folder = Folder::new();
        let mut inputs = nothing();
        assert_eq!(outcome(&stands(&inputs)), by_default);
        inputs.config_path = Some(folder.write("waypost.toml", file));
        assert_eq!(outcome(&stands(&inputs)), by_file);
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()));
        inputs.env = Env::Fixed(variables.collect());
        assert_eq!(outcome(&stands(&inputs)), by_variable);
        if let Some(flag) = flag {
            flag(&mut inputs);
            assert_eq!(outcome(&stands(&inputs)), by_flag);
        }
    }
}

#[test]
fn the_flag_names_the_file_and_the_variable_does_without_it() {
    let folder = Folder::new();
    let one = folder.write("one.toml", "[server]\nadmin = \"127.0.0.1:1\"");
    let two = folder.write("two.toml", "[server]\nadmin = \"127.0.0.1:2\"");
    let mut inputs = Inputs::of(Env::fixed([("WAYPOST_CONFIG", one.to_str().unwrap())]));
    assert_eq!(stands(&inputs).server.admin.port(), 1);
    inputs.config_path = Some(two);
    assert_eq!(stands(&inputs).server.admin.port(), 2);
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    let names = [
        "WAYPOST_CONFIG",
        "WAYPOST_ALLOW",
        "WAYPOST_LISTEN",
        "WAYPOST_ADMIN",
        "WAYPOST_DATA",
        "WAYPOST_DOMAIN",
    ];
    let inputs = Inputs::of(Env::fixed(names.map(|name| (name, ""))));
    assert_eq!(stands(&inputs), stands(&nothing()));
}

#[test]
fn a_domain_is_served_on_its_usual_ports() {
    let folder = Folder::new();
    folder.certify("cert.pem", "key.pem");
    let text = "[server]\ndomain = \"Proxy.Example.com\"\n[tls]\ncertificate = \"cert.pem\"\nprivate_key = \"key.pem\"";
    let config = stands(&folder.inputs(text));
    assert_eq!(config.server.domain(), Some("proxy.example.com"));
    assert_eq!(config.server.http, [at("0.0.0.0:80")]);
    assert_eq!(config.server.https, [at("0.0.0.0:443")]);
    let files = TlsFiles { certificate: folder.path("cert.pem"), private_key: folder.path("key.pem") };
    assert_eq!(config.tls, Some(Tls::Files(files)));
}

#[test]
fn an_address_for_mail_and_a_domain_are_all_that_a_certificate_needs() {
    let folder = Folder::new();
    let acme = |text: &str| match stands(&folder.inputs(text)).tls {
        Some(Tls::Acme(acme)) => acme,
        other => panic!("{other:?}"),
    };
    let head = "[server]\ndomain = [\"a.example\", \"B.example\", \"a.example\"]\n[tls]\nacme_email = \"ops@a.example\"\n";
    let plain = acme(head);
    assert_eq!(stands(&folder.inputs(head)).server.domains, ["a.example", "b.example"]);
    assert_eq!(plain.directory, waypost_acme::LETS_ENCRYPT);
    assert!(!plain.directory_explicit && plain.with_http && plain.external_account.is_none());
    assert_eq!(acme(&format!("{head}acme_staging = true")).directory, waypost_acme::LETS_ENCRYPT_STAGING);
    folder.certify("ca.pem", "key.pem");
    let named = acme(&format!(
        "{head}acme_directory = \"https://ca.example/dir\"\nacme_ca_file = \"ca.pem\"\nacme_eab_kid = \"kid\"\nacme_eab_key = \"a2V5\""
    ));
    assert!(named.directory_explicit && named.ca_file.is_some());
    let settings = named.settings(&["b.example".to_owned(), "a.example".to_owned()]).unwrap();
    assert_eq!((&*settings.directory, settings.extra_roots.len()), ("https://ca.example/dir", 1));
    assert_eq!(settings.certificates, [["a.example"], ["b.example"]]);
    assert!(settings.external_account.is_some() && settings.allow_private);
    let head = "[server]\ndomain = \"a.example\"\nhttp = []\n[tls]\nacme_email = \"ops@a.example\"";
    assert!(!acme(head).with_http, "there is no plain HTTP to prove anything over");
}

#[test]
fn naming_https_addresses_without_a_domain_names_them_all() {
    let folder = Folder::new();
    folder.certify("cert.pem", "key.pem");
    let text =
        "[server]\nhttps = \"127.0.0.1:0\"\n[tls]\ncertificate = \"cert.pem\"\nprivate_key = \"key.pem\"";
    let config = stands(&folder.inputs(text));
    assert_eq!((config.server.http.len(), config.server.https), (0, vec![at("127.0.0.1:0")]));
}

#[test]
fn the_store_stays_where_its_url_says_and_a_differing_data_folder_is_warned_of() {
    let folder = Folder::new();
    let mut inputs = folder.inputs("[storage]\nurl = \"sqlite:elsewhere/events.db\"");
    inputs.data = Some("data".into());
    let loaded = load(&inputs).unwrap();
    assert_eq!(loaded.config.data_dir, PathBuf::from("data"));
    assert_eq!(loaded.config.storage.path, PathBuf::from("elsewhere/events.db"));
    assert!(
        folder.lines(&loaded.warnings)[1]
            .starts_with("waypost.toml:2:7: storage.url: the store is not in the folder")
    );
    inputs.data = Some("elsewhere".into());
    assert_eq!(load(&inputs).unwrap().warnings.len(), 1, "only the empty allow-list is left to warn of");
}

#[test]
fn hosts_of_file_variable_and_flag_add_up_each_once() {
    let folder = Folder::new();
    let mut inputs = folder.inputs(
        "[[upstream]]\nhost = \"a.example\"\nmode = \"relay\"\norigin = \"https://10.0.0.1\"\n[[upstream]]\nhost = \"b.example\"\nmode = \"relay\"",
    );
    inputs.env = Env::fixed([("WAYPOST_ALLOW", "c.example=http://10.0.0.3, d.example")]);
    inputs.allow = ["b.example=http://127.0.0.1:3000", "c.example", "D.example=http://10.0.0.4", "a.example"]
        .map(str::to_owned)
        .to_vec();
    let config = stands(&inputs);
    let shown: Vec<_> = config
        .upstreams
        .iter()
        .map(|u| (u.host.as_str(), u.mode, u.origin.to_string(), u.allow_private))
        .collect();
    assert_eq!(
        shown,
        [
            ("a.example", Mode::Relay, "https://10.0.0.1:443".to_owned(), true),
            ("b.example", Mode::Relay, "http://127.0.0.1:3000".to_owned(), true),
            ("c.example", Mode::Store, "http://10.0.0.3:80".to_owned(), true),
            ("d.example", Mode::Store, "http://10.0.0.4:80".to_owned(), true),
        ]
    );
}

#[test]
fn an_explicit_origin_allows_private_addresses_unless_that_is_denied() {
    let folder = Folder::new();
    let allowed = |keys: &str| {
        let text = format!("[[upstream]]\nhost = \"a.example\"\n{keys}");
        stands(&folder.inputs(text)).upstreams[0].allow_private
    };
    assert!(!allowed(""));
    assert!(allowed("origin = \"https://10.0.0.7\""));
    assert!(!allowed("origin = \"https://a.internal\"\nallow_private = false"));
    assert!(allowed("allow_private = true"));
}

#[test]
fn delivery_is_what_the_keys_say() {
    let folder = Folder::new();
    let delivery = |keys: &str| {
        let text = format!("[[upstream]]\nhost = \"a.example\"\n{keys}");
        stands(&folder.inputs(text)).upstreams.remove(0).delivery
    };
    let said = delivery(
        "timeout = \"30s\"\nconnect_timeout = \"500ms\"\nlane_patience = \"forever\"\nconcurrency_max = 0x10\nrate_max = \"600/m\"\nschedule = [\"1s\", \"2s\"]\ngive_up_after = \"1h\"",
    );
    assert_eq!((said.timeout, said.connect_timeout), (Duration::from_secs(30), Duration::from_millis(500)));
    assert_eq!((said.lane_patience, said.concurrency_max), (Patience::Forever, 16));
    assert_eq!(said.rate_max, Some(Rate { attempts: 600, per: Duration::from_secs(60) }));
    let steps = vec![Duration::from_secs(1), Duration::from_secs(2)];
    assert_eq!(said.schedule, RetrySchedule::new(steps, Duration::from_secs(3_600)).unwrap());
    assert_eq!(delivery("lane_patience = \"none\"").lane_patience, Patience::None);
    // A short deadline takes the default of connecting with it.
    assert_eq!(delivery("timeout = \"2s\"").connect_timeout, Duration::from_secs(2));
    // One of the two alone keeps the other's default.
    assert_eq!(delivery("give_up_after = \"8d\"").schedule, RetrySchedule::default());
    assert_ne!(delivery("give_up_after = \"7d\"").schedule, RetrySchedule::default());
}

#[test]
fn limits_are_what_the_keys_say() {
    let folder = Folder::new();
    let config = stands(&folder.inputs(
        "[limits]\nbody_bytes_max = \"3MiB\"\nconnections_max = 200\nbodies_in_flight_bytes_max = 4194304",
    ));
    assert_eq!(config.limits.body_bytes_max, 3 << 20);
    assert_eq!((config.limits.connections_max, config.limits.connections_per_address_max), (200, 200));
    assert_eq!(config.limits.bodies_in_flight_bytes_max, 4 << 20);
}

#[test]
fn port_zero_may_be_asked_for_more_than_once() {
    let mut inputs = nothing();
    inputs.listen = Some("127.0.0.1:0,127.0.0.1:0".to_owned());
    inputs.admin = Some("127.0.0.1:0".to_owned());
    assert_eq!(stands(&inputs).server.http.len(), 2);
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_read_over() {
    let folder = Folder::new();
    let config = stands(&folder.inputs("\u{feff}[server]\r\nadmin = \"127.0.0.1:7\"\r\n"));
    assert_eq!(config.server.admin.port(), 7);
    assert_eq!(folder.faults("\u{feff}nope = 1\r\n"), folder.faults("nope = 1\n"));
}

#[test]
fn what_was_bound_opened_or_started_once_needs_a_restart_and_nothing_else() {
    let folder = Folder::new();
    folder.certify("cert.pem", "key.pem");
    let base = "[[upstream]]\nhost = \"a.example\"\n";
    let old = stands(&folder.inputs(base));
    let changes = |text: &str| restart_needed(&old, &stands(&folder.inputs(text)));
    assert_eq!(changes(base), [""; 0]);
    assert_eq!(changes("[[upstream]]\nhost = \"b.example\"\nmode = \"relay\"\ntimeout = \"1s\""), [""; 0]);
    assert_eq!(
        changes("[server]\nhttp = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\""),
        ["server.http", "server.admin"]
    );
    assert_eq!(changes("[storage]\nurl = \"sqlite:x/y.db\""), ["storage.url", "--data"]);
    assert_eq!(changes("[limits]\nconnections_max = 9999"), ["limits.connections_max"]);
    assert_eq!(changes("[limits]\nconnections_per_address_max = 9"), ["limits.connections_per_address_max"]);
    assert_eq!(
        changes("[limits]\nbody_bytes_max = \"8MiB\"\nbodies_in_flight_bytes_max = \"1GiB\""),
        ["limits.bodies_in_flight_bytes_max", "limits.body_bytes_max"]
    );
    assert_eq!(
        changes("[server]\nhttp = \"127.0.0.1:8080\"\nhttps = []\ndomain = \"proxy.example.com\""),
        ["server.domain"]
    );
    assert_eq!(changes("[tls]\ncertificate = \"cert.pem\"\nprivate_key = \"key.pem\""), ["tls"]);
    assert_eq!(
        changes("[storage]\nbytes_max = \"1GiB\"\nfree_bytes_min = \"1GiB\""),
        ["storage.bytes_max", "storage.free_bytes_min"]
    );
    assert_eq!(changes("[retention]\ndead = \"1h\""), ["retention"]);
}

#[test]
fn an_upstream_made_at_run_time_is_written_in_toml_or_json() {
    let env = Env::fixed([("SECRET", "s3cr3t")]);
    let (toml, warnings) =
        upstream_of("host = \"a.example\"\nmode = \"relay\"\napp_secrets = [\"env:SECRET\"]", &env).unwrap();
    let json = r#"{"host": "a.example", "mode": "relay", "app_secrets": ["env:SECRET"]}"#;
    assert_eq!(upstream_of(json, &env).unwrap().0, toml);
    assert_eq!(warnings, []);
    let (_, warnings) = upstream_of("host = \"10.0.0.7\"", &env).unwrap();
    let told: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("are not authenticated") && told[1].contains("is not a public address"),
        "{told:?}"
    );
    assert_eq!((toml.mode, toml.app_secrets[0].expose()), (Mode::Relay, "s3cr3t"));
    for (settings, fault) in [
        ("", "host: the upstream has no host"),
        ("{}", "host: the upstream has no host"),
        ("host = \"a.example\"\nmod = \"relay\"", "mod: there is no such key. Did you mean mode?"),
        (r#"{"host": "a b"}"#, "host: not a host"),
        ("host = ", "string values must be quoted"),
        (r#"{"host": null}"#, "not a JSON object"),
        ("{", "not a JSON object"),
    ] {
        let error = upstream_of(settings, &env).unwrap_err();
        assert!(error.starts_with(fault), "{settings:?}: {error}");
    }
    let all = upstream_of("host = \"a b\"\nmode = 1\ntimeout = \"x\"", &env).unwrap_err();
    assert!(all.contains("host:") && all.contains("mode:") && all.contains("timeout:"), "{all}");
}

#[test]
fn durations_read_the_same_in_flags() {
    assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7_200)));
    assert!(parse_duration("2 hours").unwrap_err().contains("Write a whole number and a unit"));
}
