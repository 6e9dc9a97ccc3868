//! Every fault is found at once, at its file, line, column and key, with a remedy.

use super::super::{Env, load};
use super::{Folder, nothing};

/// One fault each: the text, and the line that an operator reads.
#[test]
fn each_fault_has_its_place_and_its_remedy() {
    const ADDRESS: &str = "Write an IP address and a port, like 127.0.0.1:8080, 0.0.0.0:80 or [::]:443.";
    const DURATION: &str = "Write a whole number and a unit, like 500ms, 15s, 2m, 6h or 8d.";
    const SQLITE: &str = "Write \"sqlite:PATH\", like \"sqlite:waypost-data/waypost.db\".";
    const DOMAIN: &str = "Write the host name alone, like proxy.example.com.";
    const ORIGIN: &str = "Write scheme, host and port, like https://10.0.0.7:8443 or http://localhost:3000.";
    const PREFIX: &str = "Write how the path begins, byte for byte, like /webhooks/.";
    const NEEDS_CERTIFICATE: &str = "HTTPS is to be served and there is no certificate. Give acme_email under [tls], and the domain's certificate comes by itself; or certificate and private_key, PEM files both; or write https = [] under [server] where something in front ends TLS.";
    let upstream = "[[upstream]]\nhost = \"a.example\"\n";
    let after = |keys: &str| format!("{upstream}{keys}");
    let cases: Vec<(String, String)> = vec![
        // Keys that do not exist.
        ("sever = 1".into(), "1:1: sever: there is no such key. Did you mean server?".into()),
        (
            "[storage]\n\"\" = 1".into(),
            "2:1: storage.: there is no such key. Known here: url, bytes_max, free_bytes_min.".into(),
        ),
        ("[server]\nhtpp = 1".into(), "2:1: server.htpp: there is no such key. Did you mean http?".into()),
        (after("  app_secret = []"), "3:3: upstream[0].app_secret: there is no such key. Did you mean app_secrets?".into()),
        ("[tls]\nacme_mail = \"a@b.example\"".into(), "2:1: tls.acme_mail: there is no such key. Did you mean acme_email?".into()),
        ("[limits]\nbody_max = 1".into(), "2:1: limits.body_max: there is no such key. Known here: body_bytes_max, connections_max, connections_per_address_max, bodies_in_flight_bytes_max.".into()),
        // Wrong types.
        ("server = 1".into(), "1:10: server: a number where a section is expected. Write [server] and its keys below it.".into()),
        ("[upstream]\nhost = \"a.example\"".into(), "1:1: upstream: a section where a list of sections is expected. Write [[upstream]] before the keys of each.".into()),
        ("upstream = [1]".into(), "1:13: upstream[0]: a number where a section is expected. Write [[upstream]] before the keys of each.".into()),
        ("[server]\ndomain = true".into(), "2:10: server.domain: true or false where text is expected. Write one text in double quotes.".into()),
        ("[server]\nadmin = [\"127.0.0.1:1\"]".into(), "2:9: server.admin: a list where text is expected. Write one text in double quotes.".into()),
        ("[server]\nhttp = [1]".into(), format!("2:9: server.http[0]: `1` is not an address to listen on. {ADDRESS}")),
        (after("schedule = \"5s\""), "3:12: upstream[0].schedule: a text where a list is expected. Write it in brackets: [\"a\", \"b\"].".into()),
        (after("fallback = \"relay\""), "3:12: upstream[0].fallback: `relay` is not a fallback. Write \"store\" (answer at once, deliver after) or \"none\".".into()),
        (after("allow_private = \"yes\""), "3:17: upstream[0].allow_private: a text where true or false is expected. Write true or false, without quotes.".into()),
        (after("concurrency_max = \"64\""), "3:19: upstream[0].concurrency_max: a text where a number is expected. Write a whole number without quotes.".into()),
        (after("concurrency_max = 1.5"), "3:19: upstream[0].concurrency_max: a number with a fraction where a number is expected. Write a whole number without quotes.".into()),
        (after("app_secrets = [1]"), "3:16: upstream[0].app_secrets[0]: a number where a secret is expected. Write the secret, env:NAME or file:PATH in double quotes.".into()),
        // Values.
        ("[server]\nhttp = \"localhost:80\"".into(), format!("2:8: server.http: `localhost:80` is not an address to listen on. {ADDRESS}")),
        ("[server]\ndomain = \"https://a.example\"".into(), format!("2:10: server.domain: a host has no scheme in front of it. {DOMAIN}")),
        ("[server]\ndomain = \"a.example:443\"".into(), format!("2:10: server.domain: a domain has no port. {DOMAIN}")),
        ("[tls]\nacme_email = \"ops\"".into(), "2:14: tls.acme_email: not a mail address. Write one like ops@example.com.".into()),
        ("[storage]\nurl = \"postgres://u:p@db/x\"".into(), format!("2:7: storage.url: postgres is not available in this build. {SQLITE}")),
        ("[storage]\nurl = \"waypost.db\"".into(), format!("2:7: storage.url: not the address of a store. {SQLITE}")),
        (after("mode = \"stroe\""), "3:8: upstream[0].mode: `stroe` is not a mode. Write \"store\" (answer at once, deliver after) or \"relay\" (pass through).".into()),
        (after("origin = \"10.0.0.7\""), format!("3:10: upstream[0].origin: not an origin: an origin starts with https:// or http://. {ORIGIN}")),
        (after("origin = \"https://a/b\""), format!("3:10: upstream[0].origin: not an origin: an origin has no path; the caller's path is used. {ORIGIN}")),
        (after("paths = [\"/ok\", \"webhooks\"]"), format!("3:17: upstream[0].paths[1]: `webhooks` does not start with a slash. {PREFIX}")),
        (after("paths = \"/a/../b\""), format!("3:9: upstream[0].paths: `/a/../b` has a dot segment, which is always refused. {PREFIX}")),
        (after("paths = []"), "3:9: upstream[0].paths: an empty list lets nothing through. Remove the key to let every path through, or list prefixes.".into()),
        (after("timeout = 15"), format!("3:11: upstream[0].timeout: `15` has no unit. {DURATION}")),
        (after("lane_patience = \"ever\""), format!("3:17: upstream[0].lane_patience: `ever` is not a duration. {DURATION}")),
        (after("rate_max = \"50\""), "3:12: upstream[0].rate_max: `50` is not a rate. Write how many per second, minute or hour, like 50/s, 600/m or 10000/h, or none.".into()),
        ("[[upstream]]\nhost = \"chatwoot.example.com/webhooks\"".into(), "2:8: upstream[0].host: a host has no path after it. Write the host as callers will write it, like chatwoot.example.com or chatwoot.example.com:8443.".into()),
        ("[[upstream]]\nhost = \"w\"".into(), "2:8: upstream[0].host: `w` cannot be an upstream: /w/… is where sources are called. Give it a longer name and write where it is as origin.".into()),
        // Ranges.
        (after("concurrency_max = 0"), "3:19: upstream[0].concurrency_max: 0 is out of range. Give a number from 1 to 4096.".into()),
        (after("concurrency_max = -99999999999999999999999999999999999999999999"), "3:19: upstream[0].concurrency_max: -99999999999999999999999999999999999999999999 is out of range. Give a number from 1 to 4096.".into()),
        (after("timeout = \"1h\""), "3:11: upstream[0].timeout: `1h` is out of range. Give a duration from 100ms to 10m.".into()),
        (after("schedule = [\"1s\", \"999ms\"]"), "3:19: upstream[0].schedule[1]: `999ms` is out of range. Give a duration from 1s to 90d.".into()),
        (after("schedule = []"), "3:12: upstream[0].schedule: a schedule needs at least one wait. Write waits like [\"5s\", \"1m\", \"1h\"]; the last one repeats.".into()),
        (after("give_up_after = \"365d\""), "3:17: upstream[0].give_up_after: `365d` is out of range. Give a duration from 1s to 90d.".into()),
        ("[limits]\nbody_bytes_max = \"9MiB\"".into(), "2:18: limits.body_bytes_max: `9MiB` is out of range. Give a number from 1024 to 8388608.".into()),
        ("[limits]\nconnections_max = 0".into(), "2:19: limits.connections_max: 0 is out of range. Give a number from 1 to 1000000.".into()),
        ("[storage]\nbytes_max = \"64KiB\"".into(), "2:13: storage.bytes_max: `64KiB` is out of range. Give a number from 1048576 to 281474976710656.".into()),
        ("[storage]\nfree_bytes_min = \"1GB\"".into(), "2:18: storage.free_bytes_min: `1GB` is not a size. Write a number of bytes, or like 512KiB or 4MiB.".into()),
        ("[retention]\nrecords = \"59m\"".into(), "2:11: retention.records: `59m` is out of range. Give a duration from 1h to 3650d.".into()),
        ("[retention]\ndead = \"0s\"".into(), "2:8: retention.dead: `0s` is out of range. Give a duration from 1h to 3650d.".into()),
        // What is missing.
        ("\n  [[upstream]]\nmode = \"relay\"".into(), "2:3: upstream[0].host: the upstream has no host. Write host = \"chatwoot.example.com\".".into()),
        // Between keys.
        (after("[[upstream]]\nhost = \"A.Example\""), "4:8: upstream[1].host: a.example is already upstream[0]. Keep one of the two.".into()),
        (after("fallback = \"store\""), "3:12: upstream[0].fallback: mode store keeps everything first: there is nothing to fall back from. Remove the key, or write mode = \"relay\".".into()),
        (after("mode = \"store\"\nfallback = \"store\""), "4:12: upstream[0].fallback: mode store keeps everything first: there is nothing to fall back from. Remove the key, or write mode = \"relay\".".into()),
        ("[retention]\ndelivered_bodies = \"31d\"".into(), "2:20: retention.delivered_bodies: longer than records, 30d, and a body does not outlive its record. Give at most records, or set records higher.".into()),
        (after("timeout = \"1s\"\nconnect_timeout = \"2s\""), "4:19: upstream[0].connect_timeout: longer than timeout, which includes it. Give at most timeout.".into()),
        ("[limits]\nbodies_in_flight_bytes_max = 2048".into(), "2:30: limits.bodies_in_flight_bytes_max: not even one body of body_bytes_max, 4194304 by default, fits. Give more, or set body_bytes_max lower.".into()),
        ("[limits]\nbody_bytes_max = 4096\nbodies_in_flight_bytes_max = 2048".into(), "3:30: limits.bodies_in_flight_bytes_max: not even one body of body_bytes_max fits. Give at least 4096.".into()),
        ("[server]\nhttps = \"127.0.0.1:0\"".into(), format!("2:9: server.https: {NEEDS_CERTIFICATE}")),
        ("[server]\ndomain = \"a.example\"".into(), format!("2:10: server.domain: {NEEDS_CERTIFICATE}")),
        ("[server]\nproxy_protocol = [\"10.0.0.1/8\"]".into(), "2:19: server.proxy_protocol[0]: `10.0.0.1/8` is no network; write one like 192.0.2.0/24 or 2001:db8::/32, with no bits set past its length. Name the proxies' networks, like 10.0.0.0/8.".into()),
        ("[server]\nmeta_client_certificates = \"on\"".into(), "2:28: server.meta_client_certificates: not a demand. Write \"off\", \"report\" or \"require\".".into()),
        ("[server]\nmeta_client_certificates = \"report\"".into(), "2:28: server.meta_client_certificates: nothing says whose certificates are believed. Give meta_ca_file too: Meta's page on mTLS for webhooks has the file.".into()),
        ("[server]\nmeta_addresses = \"require\"".into(), "2:18: server.meta_addresses: nothing says which addresses are Meta's. Give meta_addresses_file too.".into()),
        ("[server]\ndomain = []".into(), "2:10: server.domain: the list is empty. Name the gateway's domain, or remove the key.".into()),
        ("[server]\nhttps = \"127.0.0.1:0\"\n[tls]\nacme_email = \"ops@a.example\"".into(), "4:14: tls.acme_email: there is no domain to get a certificate for. Name it as domain under [server].".into()),
        ("[server]\ndomain = \"localhost\"\n[tls]\nacme_email = \"ops@a.example\"".into(), "2:10: server.domain: `localhost` cannot be certified: write a full name like proxy.example.com, no address and no wildcard. Name domains that public authorities certify, or give certificate files.".into()),
        ("[server]\ndomain = \"a.example\"\n[tls]\nacme_email = \"ops@a.example\"\nacme_directory = \"http://ca.example\"".into(), "5:18: tls.acme_directory: `http://ca.example` is not the https address of an ACME directory. Write the authority's directory, like https://acme-v02.api.letsencrypt.org/directory.".into()),
        ("[server]\ndomain = \"a.example\"\n[tls]\nacme_email = \"ops@a.example\"\nacme_directory = \"https://ca.example\"\nacme_staging = true".into(), "6:16: tls.acme_staging: the directory is named, so there is nothing to choose. Remove acme_staging or acme_directory.".into()),
        ("[server]\ndomain = \"a.example\"\n[tls]\nacme_email = \"ops@a.example\"\nacme_eab_kid = \"k\"".into(), "5:16: tls.acme_eab_kid: the external account has no key. Give acme_eab_key too.".into()),
        ("[server]\ndomain = \"a.example\"\n[tls]\nacme_email = \"ops@a.example\"\nacme_eab_key = \"k\"".into(), "5:16: tls.acme_eab_key: the external account's key has no name. Give acme_eab_kid too.".into()),
        ("[server]\ndomain = \"a.example\"\n[tls]\nacme_email = \"ops@a.example\"\nacme_eab_kid = \"k\"\nacme_eab_key = \"hunter two\"".into(), "6:16: tls.acme_eab_key: the external account needs a key id, and a key in base64url. Copy both from the authority's page, the key in base64url.".into()),
        ("[tls]\nacme_staging = true".into(), "2:16: tls.acme_staging: nobody asks for a certificate. Give acme_email too.".into()),
        ("[server]\nhttp = []".into(), "2:8: server.http: there is no public address to listen on. Give server.http or server.https an address.".into()),
        ("[server]\nhttp = \"127.0.0.1:9090\"".into(), "server.admin: 127.0.0.1:9090 and 127.0.0.1:9090 of server.http cannot both be listened on. Give each listener its own port.".into()),
        ("[server]\nhttp = \"0.0.0.0:81\"\nadmin = \"127.0.0.1:81\"".into(), "3:9: server.admin: 127.0.0.1:81 and 0.0.0.0:81 of server.http cannot both be listened on. Give each listener its own port.".into()),
        ("[server]\ndomain = \"a.example\"\nhttps = []\n[[upstream]]\nhost = \"a.example\"".into(), "5:8: upstream[0].host: the host is this gateway's own domain: it would call itself. Write where the receiver really is as origin.".into()),
        // Syntax.
        ("[server]\nadmin = 127.0.0.1:9090".into(), "2:14: invalid float, expected nothing. Put text in double quotes.".into()),
        ("[server]\nadmin = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"".into(), "3:1: duplicate key. Keep one of them; each upstream begins with its own [[upstream]].".into()),
        ("[server]\nhttp = [\"127.0.0.1:1\"\n\n[storage]\n".into(), "4:1: missing comma between array elements, expected `,`. Write it as TOML: key = \"text\", key = 1, key = [\"a\", \"b\"], sections as [name] or [[name]].".into()),
    ];
    for (text, fault) in cases {
        let folder = Folder::new();
        let expected = if fault.starts_with(|first: char| first.is_ascii_digit()) {
            format!("waypost.toml:{fault}")
        } else {
            fault
        };
        assert_eq!(folder.faults(&text), [expected], "{text}");
    }
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_file() {
    let folder = Folder::new();
    let mut inputs = folder.inputs(
        "extra = 1\n[server]\nhttp = [\"x\", \"y\"]\nadmin = 1\n[tls]\ncertificate = \"gone.pem\"\n[storage]\nurl = \"redis:\"\n[limits]\nconnections_max = 0\n\
         [[upstream]]\nmode = \"x\"\ntimeout = \"x\"\n[[upstream]]\nhost = \"a b\"\npaths = [\"x\", \"y\"]\napp_secrets = [\"env:GONE\", \"\"]\n[[route]]\n",
    );
    inputs.allow = vec!["-".to_owned()];
    inputs.listen = Some("nowhere".to_owned());
    inputs.env = Env::fixed([("WAYPOST_ADMIN", "nowhere"), ("WAYPOST_ALLOW", "good.example,b@d")]);
    let refused = load(&inputs).unwrap_err();
    let places: Vec<_> = refused
        .faults
        .iter()
        .map(|fault| (fault.place.at.map_or(0, |at| at.line), fault.place.key.as_str()))
        .collect();
    assert_eq!(
        places,
        [
            (0, "--listen"),
            (0, "WAYPOST_ADMIN"),
            (0, "WAYPOST_ALLOW"),
            (0, "--allow"),
            (1, "extra"),
            (3, "server.http[0]"),
            (3, "server.http[1]"),
            (4, "server.admin"),
            (6, "tls.certificate"),
            (8, "storage.url"),
            (10, "limits.connections_max"),
            (11, "upstream[0].host"),
            (12, "upstream[0].mode"),
            (13, "upstream[0].timeout"),
            (15, "upstream[1].host"),
            (16, "upstream[1].paths[0]"),
            (16, "upstream[1].paths[1]"),
            (17, "upstream[1].app_secrets[0]"),
            (17, "upstream[1].app_secrets[1]"),
            (18, "route[0].source"),
            (18, "route[0].match"),
            (18, "route[0].to"),
        ]
    );
    assert_eq!(refused.to_string().lines().count(), refused.faults.len());
}

#[test]
fn a_syntax_fault_does_not_hide_the_others() {
    let folder = Folder::new();
    let faults = folder.faults(
        "[server]\nhttp = nowhere\nadmin\n[[upstream]]\nhost = \"a b\"\nmode = \"unclosed\nzzz = 1\n",
    );
    let places: Vec<_> = faults.iter().map(|fault| fault.split_once(": ").unwrap().0).collect();
    assert_eq!(
        places,
        ["waypost.toml:2:8", "waypost.toml:3:6", "waypost.toml:5:8", "waypost.toml:6:17", "waypost.toml:7:1"],
        "{faults:#?}"
    );
}

#[test]
fn what_a_syntax_fault_may_have_swallowed_is_not_called_missing() {
    let folder = Folder::new();
    for text in [
        "[server]\n[tls]\n[server]\nhttp = \"127.0.0.1:2\"",
        "[server\ndomain = \"a.example\"\n[[upstream]]\nhost = \"a.example\"",
        "[[upstream]]\nhost = a.example\n",
        "[server]\nhttps = \"127.0.0.1:0\"\n[tls]\ncertificate = cert.pem\n",
        "[[upstream]]\npaths = [\"/a\",\nhost = \"a.example\"\n",
        "[[upstream]]\npaths = \"\"\"/a\nhost = \"a.example\"\n",
    ] {
        assert_eq!(folder.faults(text).len(), 1, "{text}");
    }
}

#[test]
fn flags_and_variables_are_faulted_by_name() {
    let mut inputs = nothing();
    inputs.allow =
        vec!["a.example".to_owned(), "A.example=http://b".to_owned(), "c.example=nowhere".to_owned()];
    inputs.data = Some("".into());
    inputs.env = Env::fixed([("WAYPOST_HTTPS", "127.0.0.1:0")]);
    let faults: Vec<_> = load(&inputs).unwrap_err().faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "WAYPOST_HTTPS: HTTPS is to be served and there is no certificate. Give acme_email under [tls], and the domain's certificate comes by itself; or certificate and private_key, PEM files both; or write https = [] under [server] where something in front ends TLS.",
            "--data: no folder is named. Name the folder to keep data in.",
            "--allow: a.example is named twice. Name each host once.",
            "--allow: not an origin: an origin starts with https:// or http://. Write scheme, host and port, like https://10.0.0.7:8443 or http://localhost:3000.",
        ]
    );
}

#[test]
fn a_file_that_cannot_be_had_is_a_fault_and_flags_are_still_judged() {
    let folder = Folder::new();
    let mut inputs = nothing();
    inputs.config_path = Some(folder.path("gone.toml"));
    inputs.listen = Some("nowhere".to_owned());
    let refused = load(&inputs).unwrap_err();
    let lines = folder.lines(&refused.faults);
    assert_eq!(
        lines[0],
        "gone.toml: --config: the configuration cannot be read: there is no such file. Name a file in TOML."
    );
    assert!(lines[1].starts_with("--listen: `nowhere` is not an address"), "{lines:?}");
    assert_eq!(lines.len(), 2);
    inputs.config_path = Some(folder.path(""));
    assert!(load(&inputs).unwrap_err().to_string().contains("it is a folder"));
}

#[test]
fn bytes_that_are_no_text_are_a_fault_where_they_begin() {
    let folder = Folder::new();
    assert_eq!(
        folder.faults(b"# gr\xc3\xbc\xc3\x9fe\nx = \"\xff\"\n"),
        ["waypost.toml:2:6: the file is not UTF-8 text from here on. Save it as UTF-8."]
    );
    let large = folder.faults(" ".repeat(16 * 1024 * 1024 + 1));
    assert!(large[0].contains("it is larger than 16384 KiB"), "{large:?}");
}

#[test]
fn columns_count_characters() {
    let folder = Folder::new();
    let faults = folder.faults("\"grüße\" = 1 # ä\nserver = { \"ö\" = 1, htp = 2 }\n");
    let places: Vec<_> = faults.iter().map(|fault| fault.split_once(": ").unwrap().0).collect();
    assert_eq!(places, ["waypost.toml:1:1", "waypost.toml:2:12", "waypost.toml:2:21"]);
}

#[test]
fn a_finding_is_one_line_of_bounded_length() {
    let folder = Folder::new();
    let faults = folder.faults(format!(
        "\"a\\nb\\u001b[31m\" = 1\n\"{}\" = 1\n[[upstream]]\nhost = \"a\\nb\"\n[[upstream]]\nhost = \"{}\"\nmode = \"{}\"",
        "k".repeat(10_000),
        "h".repeat(200),
        "m".repeat(10_000)
    ));
    assert_eq!(faults.len(), 5);
    for fault in faults {
        assert!(!fault.contains(char::is_control) && fault.len() < 1_000, "{fault}");
    }
}

#[test]
fn faults_beyond_a_hundred_are_counted() {
    let folder = Folder::new();
    let text: String = (0..150).map(|index| format!("key{index} = 1\n")).collect();
    let refused = folder.load(text).unwrap_err();
    assert_eq!((refused.faults.len(), refused.faults_more), (100, 50));
    assert!(refused.to_string().ends_with("\nand 50 more faults"));
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let folder = Folder::new();
    folder.certify("cert.pem", "key.pem");
    let loaded = folder
        .load(
            "[server]\nadmin = \"0.0.0.0:9091\"\n[tls]\ncertificate = \"cert.pem\"\nprivate_key = \"key.pem\"\n\
             [limits]\nbody_bytes_max = 1024\n[[upstream]]\nhost = \"127.0.0.1:3000\"\n[[upstream]]\nhost = \"b.example\"\nmode = \"relay\"\nfallback = \"store\"\n[[upstream]]\nhost = \"203.0.113.7\"\nmode = \"relay\"",
        )
        .unwrap();
    let lines = folder.lines(&loaded.warnings);
    let starts = [
        "waypost.toml:2:9: server.admin: the admin listener is open to other machines on 0.0.0.0:9091",
        "waypost.toml:4:15: tls.certificate: there is a certificate and no HTTPS listener to show it",
        "waypost.toml:7:18: limits.body_bytes_max: Meta sends bodies of up to 3 MB",
        "waypost.toml:9:8: upstream[0].host: callers of 127.0.0.1:3000 are not authenticated",
        "waypost.toml:9:8: upstream[0].host: https://127.0.0.1:3000 is not a public address",
        "waypost.toml:11:8: upstream[1].host: callers of b.example are not authenticated",
        "waypost.toml:15:8: upstream[2].host: https://203.0.113.7:443 is not a public address",
    ];
    assert_eq!(lines.len(), starts.len(), "{lines:#?}");
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
    let alone = load(&nothing()).unwrap().warnings;
    assert_eq!(alone.len(), 1);
    assert!(alone[0].to_string().starts_with("upstream: nothing is on the allow-list"), "{}", alone[0]);
}
