//! Sources, destinations and routes: what stands, and every fault at its place with its remedy.

use waypost_domain::MatchKey;

use super::super::Own;
use super::super::{
    Batches, Env, Kind, SignWith, destination_of_settings, load, route_of_settings, source_of_settings,
};
use super::Folder;

const SOURCE: &str = "[[source]]\nname = \"acme\"\ntoken = \"q7x0m2q7x0m2q7x0m2q7x0m2\"\nverify_token = \"v\"\napp_secrets = [\"s\"]\n";
const DESTINATION: &str = "[[destination]]\nname = \"support\"\nurl = \"https://support.example.com/w\"\n";
const ROUTE: &str = "[[route]]\nsource = \"acme\"\nmatch = \"all\"\nto = \"support\"\n";

fn all(source: &str, destination: &str, route: &str) -> String {
    format!("{SOURCE}{source}{DESTINATION}{destination}{ROUTE}{route}")
}

#[test]
fn what_is_left_out_has_its_default() {
    let folder = Folder::new();
    let loaded = folder.load(all("", "", "")).unwrap_or_else(|refused| panic!("{refused}"));
    assert!(
        folder.lines(&loaded.warnings).iter().all(|line| !line.contains("source")),
        "{:?}",
        loaded.warnings
    );
    let config = loaded.config;
    let destination = &config.destinations[0];
    assert_eq!((destination.batches, &destination.sign_with), (Batches::Split, &SignWith::Source));
    assert!(!destination.allow_private && destination.webhook_secrets.is_empty());
    assert_eq!(destination.delivery.kind, Kind::Http);
    assert_eq!(config.sources[0].app_secrets.len(), 1);
    assert!(config.routes[0].wanted.is_everything());
    assert_eq!(
        (config.routes[0].name.as_deref(), &config.routes[0].to[..]),
        (None, &["support".to_owned()][..])
    );
}

#[test]
fn a_receivers_path_is_kept_byte_for_byte() {
    let paths = [
        "/webhooks/whatsapp/+15551234567",
        "/webhooks/whatsapp/%2B15551234567",
        "/webhooks/whatsapp/%2b15551234567",
        "/webhooks/whatsapp/%2015551234567",
        "/a//b/./c?x=%2B&y=+",
        "/?only=query",
    ];
    for path in paths {
        let settings = format!("name = \"a\"\nurl = \"https://Support.example.com:8443{path}\"");
        let made = destination_of_settings(&settings, &Own::default()).unwrap();
        assert_eq!(made.entry.url.path_and_query.as_str(), path);
        assert_eq!(made.entry.url.origin.to_string(), "https://support.example.com:8443");
        assert_eq!(made.entry.url.host.as_str(), "support.example.com:8443");
    }
    for (url, path) in [("https://a.example", "/"), ("http://a.example?x", "/?x")] {
        let made =
            destination_of_settings(&format!("name = \"a\"\nurl = \"{url}\""), &Own::default()).unwrap();
        assert_eq!(made.entry.url.path_and_query.as_str(), path);
    }
}

#[test]
fn a_match_is_a_table_of_values_or_lists_or_the_word_all() {
    let route = |wanted: &str| {
        let made =
            route_of_settings(&format!("source = \"a\"\nto = [\"b\", \"c\"]\nmatch = {wanted}")).unwrap();
        made.entry.wanted
    };
    assert!(route("\"all\"").is_everything());
    assert!(route("{}").is_everything());
    let wanted = route("{ phone_number_id = \"1\", kind = [\"status\", \"message\"], class = \"message\" }");
    let keys: Vec<(MatchKey, Vec<String>)> =
        wanted.keys().map(|(key, values)| (key, values.map(str::to_owned).collect())).collect();
    assert_eq!(
        keys,
        [
            (MatchKey::PhoneNumberId, vec!["1".to_owned()]),
            (MatchKey::Kind, vec!["message".to_owned(), "status".to_owned()]),
            (MatchKey::Class, vec!["message".to_owned()]),
        ]
    );
}

/// One fault each: the text, and how the line that an operator reads begins.
#[test]
fn each_fault_has_its_place_and_its_remedy() {
    let destination = |keys: &str| format!("{SOURCE}{ROUTE}[[destination]]\nname = \"support\"\n{keys}");
    let route = |keys: &str| format!("{SOURCE}{DESTINATION}[[route]]\n{keys}");
    let source = |keys: &str| format!("{DESTINATION}{ROUTE}[[source]]\n{keys}");
    let upstream = "[[upstream]]\nhost = \"a.example\"\n";
    let cases: Vec<(String, &str)> = vec![
        (
            source("nme = \"acme\"\ntoken = \"q7x0m2q7x0m2q7x0m2q7x0m2\"\napp_secrets = \"s\""),
            "9:1: source[0].nme: there is no such key. Did you mean name?",
        ),
        (
            source("name = \"acme\"\napp_secrets = \"s\""),
            "8:1: source[0].token: the source has no token, which its address ends with. Write token",
        ),
        (
            source("name = \"acme\"\ntoken = \"q7x0m2q7x0m2q7x0m2q7x0m2\""),
            "8:1: source[0].app_secrets: the source has no app secret, so nothing would prove its callers. Write app_secrets",
        ),
        (
            source("name = \"acme\"\ntoken = \"q7x0m2q7x0m2q7x0m2q7x0m2\"\napp_secrets = []"),
            "11:15: source[0].app_secrets: an empty list proves no caller. Write at least one",
        ),
        (
            source("name = \"acme\"\ntoken = \"q7x0m2q7x0m2q7x0m2q7x0m2\"\napp_secrets = [\"\"]"),
            "11:16: source[0].app_secrets[0]: the secret is empty.",
        ),
        (
            source("name = \"acme\"\ntoken = \"short\"\napp_secrets = \"s\""),
            "10:9: source[0].token: the token has 5 characters. Write 22 to 128",
        ),
        (
            source("name = \"acme\"\ntoken = \"q7x0m2q7x0m2q7x0m2q7/0m2\"\napp_secrets = \"s\""),
            "10:9: source[0].token: the token has characters that an address would have to escape.",
        ),
        (
            source("name = \"ac me\"\ntoken = \"q7x0m2q7x0m2q7x0m2q7x0m2\"\napp_secrets = \"s\""),
            "9:8: source[0].name: `ac me` is not a name.",
        ),
        (
            all(
                "[[source]]\nname = \"ACME\"\ntoken = \"q7x0m2q7x0m2q7x0m2q7x0m3\"\napp_secrets = \"s\"\n",
                "",
                "",
            ),
            "7:8: source[1].name: ACME is already source[0]. Give each a name",
        ),
        (
            all(
                "[[source]]\nname = \"b\"\ntoken = \"q7x0m2q7x0m2q7x0m2q7x0m2\"\napp_secrets = \"s\"\n",
                "",
                "",
            ),
            "8:9: source[1].token: the token is source[0]'s already.",
        ),
        (
            format!(
                "{upstream}{SOURCE}{DESTINATION}{ROUTE}[[destination]]\nname = \"A.Example\"\nurl = \"https://b.example\""
            ),
            "16:8: destination[1].name: A.Example is an upstream's host",
        ),
        (destination(""), "10:1: destination[0].url: the destination has no url."),
        (
            destination("url = \"support.example.com\""),
            "12:7: destination[0].url: it has no https:// or http:// in front.",
        ),
        (
            destination("url = \"ftp://support.example.com\""),
            "12:7: destination[0].url: not an address: an origin starts with https:// or http://.",
        ),
        (
            destination("url = \"https://me:hunter2@support.example.com\""),
            "12:7: destination[0].url: it names a user, and none is ever sent.",
        ),
        (
            destination("url = \"https://support.example.com/a#b\""),
            "12:7: destination[0].url: what follows a # never reaches a receiver.",
        ),
        (
            destination("url = \"https://support.example.com/a b\""),
            "12:7: destination[0].url: it has spaces or characters that must be escaped.",
        ),
        (
            destination("url = \"http://127.0.0.1:3000/\""),
            "12:7: destination[0].url: http://127.0.0.1:3000 is not a public address: every delivery to it would be refused. Write allow_private = true",
        ),
        (
            destination("url = \"http://[::ffff:169.254.169.254]/latest\""),
            "12:7: destination[0].url: http://[::ffff:169.254.169.254]:80 is not a public address",
        ),
        (
            destination("url = \"https://b.example\"\nwebhook_secrets = [\"whsec_short\"]"),
            "13:20: destination[0].webhook_secrets[0]: ",
        ),
        (
            destination("url = \"https://b.example\"\nbatches = \"single\""),
            "13:11: destination[0].batches: `single` is not a form of batches.",
        ),
        (
            destination("url = \"https://b.example\"\nsign_with = \"env:MISSING\""),
            "13:13: destination[0].sign_with: the variable `MISSING` is not set or empty.",
        ),
        (
            route("source = \"acme\"\nto = \"support\""),
            "9:1: route[0].match: the route does not say what it takes; one that takes everything says so. Write match",
        ),
        (
            route("source = \"acme\"\nmatch = \"any\"\nto = \"support\""),
            "11:9: route[0].match: `any` is not a match.",
        ),
        (
            route("source = \"acme\"\nmatch = { number = \"1\" }\nto = \"support\""),
            "11:11: route[0].match.number: there is no such key.",
        ),
        (
            route("source = \"acme\"\nmatch = { kind = \"mesage\" }\nto = \"support\""),
            "11:18: route[0].match.kind: `mesage` is not a kind. Known are message, status",
        ),
        (
            route("source = \"acme\"\nmatch = { class = \"ops\" }\nto = \"support\""),
            "11:19: route[0].match.class: `ops` is not a class. Known are message, operational.",
        ),
        (
            route("source = \"acme\"\nmatch = { field = [] }\nto = \"support\""),
            "11:19: route[0].match.field: `field` lists no value",
        ),
        (
            route("source = \"acme\"\nmatch = { phone_number_id = 1 }\nto = \"support\""),
            "11:29: route[0].match.phone_number_id: a number where text is expected. Put it in double quotes.",
        ),
        (
            route("source = \"acme\"\nmatch = \"all\"\nto = []"),
            "12:6: route[0].to: the route leads nowhere. Name a destination.",
        ),
        (route("source = \"acme\"\nmatch = \"all\""), "9:1: route[0].to: the route leads nowhere. Write to"),
        (
            route("source = \"acme\"\nmatch = \"all\"\nto = [\"support\", \"support\"]"),
            "12:6: route[0].to: support is named twice.",
        ),
        (
            route("source = \"acne\"\nmatch = \"all\"\nto = \"support\""),
            "10:10: route[0].source: there is no source acne. Write a [[source]]",
        ),
        (
            route("source = \"acme\"\nmatch = \"all\"\nto = [\"suport\"]"),
            "12:6: route[0].to: there is no destination suport. Write a [[destination]]",
        ),
        (
            format!("{upstream}{}", route("source = \"acme\"\nmatch = \"all\"\nto = [\"a.example\"]")),
            "14:6: route[0].to: there is no destination a.example. It is an upstream",
        ),
        (
            format!("{upstream}batches = \"split\"\n"),
            "3:11: upstream[0].batches: what is split is signed anew, and there is no secret to sign it with.",
        ),
        (
            "[[upstream]]\nhost = \".well-known\"".to_owned(),
            "2:8: upstream[0].host: `.well-known` cannot be an upstream",
        ),
    ];
    for (text, expected) in cases {
        let folder = Folder::new();
        let faults = folder.faults(&text);
        let found = faults.iter().any(|fault| fault.starts_with(&format!("waypost.toml:{expected}")));
        assert!(found, "{text}\nwants {expected}\nand has {faults:#?}");
        // A key that is misspelt is missing too.
        let most = if expected.contains("no such key. Did") { 2 } else { 1 };
        assert!(faults.len() <= most, "{text}\n{faults:#?}");
    }
}

#[test]
fn no_fault_repeats_what_may_be_a_secret() {
    let folder = Folder::new();
    let text = format!(
        "{SOURCE}[[source]]\nname = \"b\"\ntoken = \"hunter2-with-a-/-in-it-000\"\napp_secrets = \"hunter2 \"\n[[destination]]\nname = \"d\"\nurl = \"https://hunter2@b.example/?key=hunter2\"\nsign_with = \" hunter2\"\nwebhook_secrets = \"hunter2\"\n"
    );
    let faults = folder.faults(&text);
    assert_eq!(faults.len(), 5, "{faults:#?}");
    assert!(faults.iter().all(|fault| !fault.contains("hunter2")), "{faults:#?}");
    let config = folder.load(all("", "", "")).unwrap().config;
    let shown = format!("{config:?}");
    assert!(!shown.contains("q7x0m2q7"), "{shown}");
}

#[test]
fn nothing_is_sent_to_where_it_came_in() {
    let folder = Folder::new();
    folder.certify("certificate.pem", "key.pem");
    let head = "[server]\ndomain = \"proxy.example.com\"\nhttp = \"127.0.0.1:8080\"\n[tls]\ncertificate = \"certificate.pem\"\nprivate_key = \"key.pem\"\n";
    for url in [
        "https://proxy.example.com/w/x",
        "http://Proxy.Example.com/x",
        "http://127.0.0.1:8080/",
        "http://localhost:8080/a",
    ] {
        let text = format!(
            "{head}{SOURCE}{ROUTE}[[destination]]\nname = \"support\"\nallow_private = true\nurl = \"{url}\"\n"
        );
        let faults = folder.faults(&text);
        assert_eq!(faults.len(), 1, "{url}: {faults:#?}");
        assert!(faults[0].contains("events would come back here for ever"), "{faults:?}");
    }
    let origin = format!("{head}[[upstream]]\nhost = \"a.example\"\norigin = \"http://127.0.0.1:8080\"\n");
    assert!(folder.faults(&origin)[0].contains("it would call itself"));
    let beside = format!(
        "{head}{SOURCE}{ROUTE}[[destination]]\nname = \"support\"\nallow_private = true\nurl = \"http://127.0.0.1:3000/\"\n"
    );
    folder.load(beside).unwrap_or_else(|refused| panic!("{refused}"));
}

#[test]
fn a_source_without_a_route_or_a_verify_token_is_doubtful() {
    let folder = Folder::new();
    let text = "[[source]]\nname = \"acme\"\ntoken = \"q7x0m2q7x0m2q7x0m2q7x0m2\"\napp_secrets = [\"s\"]\n";
    let warnings = folder.lines(&folder.load(text).unwrap().warnings);
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    assert!(warnings.iter().any(|line| line.contains("all of them are quarantined")), "{warnings:#?}");
    assert!(warnings.iter().any(|line| line.contains("every handshake is refused")), "{warnings:#?}");
}

#[test]
fn tokens_and_secrets_come_from_variables_and_files_too() {
    let folder = Folder::new();
    folder.write("secret", "from a file\n");
    let mut inputs = folder.inputs(format!(
        "[[source]]\nname = \"acme\"\ntoken = [\"env:TOKEN\", \"q7x0m2q7x0m2q7x0m2q7x0m2\"]\nverify_token = \"v\"\napp_secrets = [\"file:secret\", \"env:FORMER\"]\n{DESTINATION}{ROUTE}"
    ));
    inputs.env = Env::fixed([("TOKEN", "a-token-from-a-variable-0"), ("FORMER", "the former one")]);
    let config = load(&inputs).unwrap_or_else(|refused| panic!("{refused}")).config;
    let source = &config.sources[0];
    assert_eq!(source.tokens[0].expose(), "a-token-from-a-variable-0");
    let labels: Vec<&str> = source.app_secrets.iter().map(|secret| secret.label()).collect();
    assert_eq!(labels, ["file:secret", "env:FORMER"]);
}

#[test]
fn settings_of_run_time_may_be_json() {
    let made = source_of_settings(
        r#"{"name":"acme","token":"q7x0m2q7x0m2q7x0m2q7x0m2","app_secrets":["s"],"verify_token":"v"}"#,
    );
    assert_eq!(made.unwrap().entry.name, "acme");
    let wrong = source_of_settings(r#"{"name":"acme","token":"q7x0m2q7x0m2q7x0m2q7x0m2"}"#).unwrap_err();
    assert!(wrong.contains("app_secrets: the source has no app secret"), "{wrong}");
}

/// Ten thousand of each are read in bounded time.
#[test]
fn ten_thousand_of_each_are_read_soon() {
    let mut text = String::new();
    for n in 0..10_000 {
        use std::fmt::Write as _;
        let _ = write!(
            text,
            "[[source]]\nname = \"s{n}\"\ntoken = \"q7x0m2q7x0m2q7x0m2{n:06}\"\nverify_token = \"v\"\napp_secrets = [\"secret {n}\"]\n[[destination]]\nname = \"d{n}\"\nurl = \"https://d{n}.example.com/webhooks/whatsapp/%2B1555{n:07}\"\n[[route]]\nsource = \"s{n}\"\nmatch = {{ phone_number_id = \"{n}\" }}\nto = [\"d{n}\"]\n"
        );
    }
    let folder = Folder::new();
    let inputs = folder.inputs(&text);
    let clock = waypost_domain::Clock::system();
    let began = clock.monotonic();
    let config = load(&inputs).unwrap_or_else(|refused| panic!("{refused}")).config;
    let took = clock.monotonic().saturating_sub(began);
    assert_eq!(
        (config.sources.len(), config.destinations.len(), config.routes.len()),
        (10_000, 10_000, 10_000)
    );
    // Generous for an unoptimised build on a busy machine; what grows with the square takes minutes.
    assert!(took.as_secs() < 20, "it took {took:?}");
    println!("read in {took:?}");
}

#[test]
fn routes_that_take_nothing_everything_or_the_same_again_are_doubted() {
    let folder = Folder::new();
    let route = |wanted: &str| format!("[[route]]\nsource = \"acme\"\nmatch = {wanted}\nto = \"support\"\n");
    let doubts = |wanted: &str| {
        let loaded = folder.load(all("", "", &route(wanted))).unwrap_or_else(|refused| panic!("{refused}"));
        loaded.warnings.iter().map(|warning| format!("{warning}")).collect::<Vec<_>>().join("\n")
    };
    for (wanted, words) in [
        ("{}", "an empty match takes every event"),
        ("\"all\"", "route[0] sends the same events to support already"),
        ("{ field = \"mesages\" }", "no webhook field `mesages` is known here. Did you mean messages?"),
        ("{ field = \"messages\", kind = \"call\" }", "no event of that field is of that kind"),
        (
            "{ field = [\"flows\", \"security\"], kind = \"message\" }",
            "no event of that field is of that kind",
        ),
        (
            "{ class = \"operational\", kind = [\"message\", \"status\"] }",
            "no event of that kind is of that class",
        ),
        ("{ phone_number_id = \"+1 555\" }", "Meta's ids are digits alone"),
    ] {
        assert!(doubts(wanted).contains(words), "{wanted}: {}", doubts(wanted));
    }
    for wanted in [
        "{ field = \"messages\", kind = [\"message\", \"call\"] }",
        "{ field = \"calls\", class = \"message\" }",
        "{ field = \"flows\", kind = [\"account\", \"message\"] }",
        "{ field = \"messages\", kind = \"unknown\" }",
        "{ display_phone_number = \"+1 (555) 014-7720\" }",
        "{ class = \"message\", kind = \"account\" }",
    ] {
        assert!(!doubts(wanted).contains("route"), "{wanted}: {}", doubts(wanted));
    }
}
