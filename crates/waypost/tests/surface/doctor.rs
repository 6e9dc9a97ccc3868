//! `waypost doctor`: each thing that goes wrong between Meta and a callback address is named, with why and what to do.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

use crate::harness::*;

const NAME: &str = "proxy.example.com";
const TOKEN: &str = "vibecoding-4711";
const PATH: &str = "/chatwoot.example.com/webhooks/whatsapp/%2B5511999999999";
/// As long a `--app-secret` as Meta's, and never to be seen in what is said.
const FLAGS: &[&str] = &["--verify-token", TOKEN, "--app-secret", SECRET];

/// A root, an intermediate that it signed, and what that signs.
struct Chain {
    home: Arc<Home>,
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

impl Chain {
    fn new() -> Self {
        let authority = |name: &str| {
            let mut params = CertificateParams::new([]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let root =
            CertifiedIssuer::self_signed(authority("Doctor Root"), KeyPair::generate().unwrap()).unwrap();
        let intermediate =
            CertifiedIssuer::signed_by(authority("Doctor Middle R7"), KeyPair::generate().unwrap(), &root)
                .unwrap();
        let home = Home::new();
        home.write("root.pem", root.pem());
        Self { home, root, intermediate }
    }

    /// What a server shows: its own certificate, and the intermediate if that is sent too.
    fn server(&self, leaf: CertificateParams, whole: bool) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let leaf = leaf.signed_by(&key, &self.intermediate).unwrap();
        let mut chain = vec![leaf.der().clone()];
        if whole {
            chain.push(self.intermediate.der().clone());
        }
        server(chain, &key)
    }

    fn good(&self) -> Arc<ServerConfig> {
        self.server(leaf(NAME), true)
    }

    /// Runs the doctor against a receiver here, as if it were at [`NAME`].
    async fn examine(&self, receiver: &Receiver, more: &[&str]) -> Examined {
        self.examine_as(NAME, receiver, more).await
    }

    async fn examine_as(&self, name: &str, receiver: &Receiver, more: &[&str]) -> Examined {
        let url = format!("https://{name}:{}{PATH}", receiver.address.port());
        examine(&self.home, &url, more).await
    }
}

async fn examine(home: &Home, url: &str, more: &[&str]) -> Examined {
    let arguments = ["doctor", url, "--at", "127.0.0.1", "--ca-file", "root.pem", "--json"];
    let ended = waypost(home.path(), &[&arguments, more].concat()).await;
    assert!(!ended.out.contains(SECRET) && !ended.out.contains(TOKEN), "a secret is told: {}", ended.out);
    assert!(ended.err.is_empty(), "{}", ended.err);
    Examined::of(&ended)
}

#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) code: Option<i32>,
    findings: Vec<Value>,
}

impl Examined {
    /// What a run with `--json` found.
    pub(crate) fn of(ended: &Ended) -> Self {
        Self { code: ended.code, findings: ended.json() }
    }

    /// The one finding of this severity and check whose words contain `words`; it says why and what to do.
    #[track_caller]
    pub(crate) fn tells(&self, severity: &str, check: &str, words: &str) -> &Value {
        let found = self.findings.iter().find(|finding| {
            finding["severity"] == severity
                && finding["check"] == check
                && finding["what"].as_str().unwrap().contains(words)
        });
        let found = found.unwrap_or_else(|| panic!("no {severity} of {check} with {words:?}: {self:#?}"));
        if severity == "fault" || severity == "warning" {
            for part in ["why", "remedy"] {
                assert!(!found[part].as_str().unwrap().is_empty(), "no {part}: {found}");
            }
        }
        found
    }

    #[track_caller]
    fn is_fine(&self) {
        let bad = |finding: &&Value| finding["severity"] == "fault" || finding["severity"] == "warning";
        let bad: Vec<_> = self.findings.iter().filter(bad).collect();
        assert!(bad.is_empty() && self.code == Some(0), "{:?} {bad:#?}", self.code);
    }
}

fn leaf(name: &str) -> CertificateParams {
    CertificateParams::new([name.to_owned()]).unwrap()
}

fn server(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

fn answer(status: &str, lines: &str, body: &str) -> Reply {
    Reply::Say(
        format!("HTTP/1.1 {status}\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes(),
    )
}

/// The challenge of a handshake.
fn challenge(heard: &Heard) -> String {
    let line = heard.request_line();
    line.split("hub.challenge=").nth(1).unwrap().split(['&', ' ']).next().unwrap().to_owned()
}

/// A receiver that does all as Meta wants it.
fn exemplary(heard: &Heard) -> Reply {
    if heard.request_line().starts_with("GET ") {
        return if heard.request_line().contains(&format!("hub.verify_token={TOKEN}")) {
            answer("200 OK", "Content-Type: text/plain\r\n", &challenge(heard))
        } else {
            Reply::Status(403)
        };
    }
    let right = signature(SECRET, &heard.body);
    Reply::Status(if heard.all("x-hub-signature-256") == [right.as_str()] { 200 } else { 401 })
}

#[tokio::test]
async fn a_receiver_that_does_all_right_has_no_fault_and_exit_code_0() {
    let chain = Chain::new();
    let receiver = Receiver::tls(chain.good(), exemplary).await;
    let examined = chain.examine(&receiver, &[FLAGS, &["--post", "--strict"]].concat()).await;
    examined.is_fine();
    examined.tells("ok", "certificate", "the chain is whole: 2 certificates");
    examined.tells("ok", "tls", "TLS 1.3 and 1.2");
    examined.tells("ok", "handshake", "a wrong verify token is refused");
    examined.tells("ok", "handshake", "byte for byte");
    examined.tells("ok", "post", "an unsigned event is refused");
    examined.tells("ok", "post", "an event that is signed wrongly is refused");
    examined.tells("ok", "post", "the signed event is accepted");
    examined.tells("ok", "size", "an event of 3 MB is accepted");
    for finding in &examined.findings {
        let keys: Vec<&String> = finding.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["check", "remedy", "severity", "subject", "what", "why"]);
    }
    // What was posted is about nobody.
    for heard in receiver.heard().iter().filter(|heard| heard.request_line().starts_with("POST ")) {
        let event: Value = serde_json::from_slice(&heard.body).unwrap();
        assert_eq!(event["entry"][0]["id"], "0");
        assert_eq!(event["entry"][0]["changes"][0]["value"]["metadata"]["phone_number_id"], "123456123");
    }
    let line = receiver.heard()[0].request_line().to_owned();
    assert!(line.starts_with(&format!("GET {PATH}?hub.mode=subscribe&hub.challenge=")), "{line}");
}

#[tokio::test]
async fn nothing_is_posted_unless_that_was_asked_for() {
    let chain = Chain::new();
    let receiver = Receiver::tls(chain.good(), exemplary).await;
    let examined = chain.examine(&receiver, &[]).await;
    examined.is_fine();
    examined.tells("note", "post", "nothing was posted");
    let heard = receiver.heard();
    assert!(!heard.is_empty() && heard.iter().all(|heard| heard.request_line().starts_with("GET ")));
}

#[tokio::test]
async fn a_missing_intermediate_is_named_and_nothing_is_said_to_that_server() {
    let chain = Chain::new();
    let mut params = leaf(NAME);
    // Authority information access with the issuer's address (RFC 5280, section 4.2.2.1), in DER.
    let uri = b"http://r7.example/r7.der";
    let mut access = vec![0x06, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 2, 0x86, uri.len() as u8];
    access.extend(uri);
    let access = [&[0x30, access.len() as u8 + 2, 0x30, access.len() as u8], access.as_slice()].concat();
    params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access)];
    let receiver = Receiver::tls(chain.server(params, false), exemplary).await;
    let examined = chain.examine(&receiver, FLAGS).await;
    assert_eq!(examined.code, Some(1));
    let fault = examined.tells("fault", "certificate", "`Doctor Middle R7`");
    assert!(fault["what"].as_str().unwrap().contains("incomplete"), "{fault}");
    assert!(fault["remedy"].as_str().unwrap().contains("http://r7.example/r7.der"), "{fault}");
    assert!(receiver.heard().is_empty(), "a server that is not believed was spoken to");
}

#[tokio::test]
async fn an_expired_certificate_a_wrong_name_and_an_unknown_root_are_told() {
    let chain = Chain::new();
    let mut old = leaf(NAME);
    old.not_before = date_time_ymd(2024, 1, 1);
    old.not_after = date_time_ymd(2024, 3, 31);
    let receiver = Receiver::tls(chain.server(old, true), exemplary).await;
    let examined = chain.examine(&receiver, &[]).await;
    assert_eq!(examined.code, Some(1));
    examined.tells("fault", "certificate", "expired on 2024-03-31");
    examined.tells("ok", "certificate", "the chain is whole");

    let receiver = Receiver::tls(chain.server(leaf("elsewhere.example"), true), exemplary).await;
    let examined = chain.examine(&receiver, &[]).await;
    assert_eq!(examined.code, Some(1));
    examined.tells("fault", "certificate", "it is for elsewhere.example, not for proxy.example.com");

    let key = KeyPair::generate().unwrap();
    let alone = leaf(NAME).self_signed(&key).unwrap();
    let receiver = Receiver::tls(server(vec![alone.der().clone()], &key), exemplary).await;
    let examined = chain.examine(&receiver, &[]).await;
    assert_eq!(examined.code, Some(1));
    examined.tells("fault", "certificate", "signed by itself");
    assert!(receiver.heard().is_empty());

    let stranger = Chain::new();
    let whole = vec![stranger.intermediate.der().clone(), stranger.root.der().clone()];
    let key = KeyPair::generate().unwrap();
    let leaf = leaf(NAME).signed_by(&key, &stranger.intermediate).unwrap();
    let receiver = Receiver::tls(server([vec![leaf.der().clone()], whole].concat(), &key), exemplary).await;
    let examined = chain.examine(&receiver, &[]).await;
    assert_eq!(examined.code, Some(1));
    examined.tells("fault", "certificate", "Doctor Root");
}

#[tokio::test]
async fn a_certificate_whose_renewal_is_overdue_is_a_warning() {
    let chain = Chain::new();
    let mut soon = leaf(NAME);
    // Long past two thirds of a lifetime whose end is far enough away for this test to outlive.
    soon.not_before = date_time_ymd(1975, 1, 1);
    soon.not_after = date_time_ymd(2036, 1, 1);
    let receiver = Receiver::tls(chain.server(soon, true), exemplary).await;
    let examined = chain.examine(&receiver, &[]).await;
    examined.tells("warning", "certificate", "expires on 2036-01-01");
    assert_eq!(examined.code, Some(0));
    assert_eq!(chain.examine(&receiver, &["--strict"]).await.code, Some(1));
}

#[tokio::test]
async fn a_redirect_is_told_with_where_it_leads_and_not_followed() {
    let chain = Chain::new();
    let receiver = Receiver::tls(chain.good(), |_| {
        answer(
            "301 Moved Permanently",
            "Location: https://www.example.com/x?hub.verify_token=vibecoding-4711\r\n",
            "",
        )
    })
    .await;
    let examined = chain.examine(&receiver, FLAGS).await;
    assert_eq!(examined.code, Some(1));
    examined.tells("fault", "redirect", "https://www.example.com/x");
}

#[tokio::test]
async fn a_wrong_echo_is_told_apart() {
    let chain = Chain::new();
    for (before, after, words) in
        [("\"", "\"", "in quotes"), ("", "\n", "line break"), ("no ", "", "something else")]
    {
        let receiver = Receiver::tls(chain.good(), move |heard| {
            if heard.request_line().contains(TOKEN) {
                answer("200 OK", "", &format!("{before}{}{after}", challenge(heard)))
            } else {
                Reply::Status(403)
            }
        })
        .await;
        let examined = chain.examine(&receiver, &["--verify-token", TOKEN]).await;
        assert_eq!(examined.code, Some(1));
        examined.tells("fault", "handshake", words);
    }
}

#[tokio::test]
async fn a_receiver_that_asks_nobody_for_proof_is_told() {
    let chain = Chain::new();
    let receiver = Receiver::tls(chain.good(), |heard| {
        if heard.request_line().starts_with("GET ") {
            answer("200 OK", "", &challenge(heard))
        } else {
            Reply::Status(200)
        }
    })
    .await;
    let examined = chain.examine(&receiver, FLAGS).await;
    assert_eq!(examined.code, Some(1));
    examined.tells("fault", "handshake", "a wrong verify token is accepted");
    examined.tells("fault", "post", "an unsigned event is accepted");
    examined.tells("fault", "post", "an event that is signed wrongly is accepted");
    examined.tells("ok", "post", "the signed event is accepted");
    let examined = chain.examine(&receiver, &["--post"]).await;
    examined.tells("warning", "post", "unsigned events are accepted");
}

#[tokio::test]
async fn another_apps_secret_a_small_limit_and_a_failing_receiver_are_told() {
    let chain = Chain::new();
    let receiver = Receiver::tls(chain.good(), |heard| {
        if heard.body.len() > 1_000_000 { Reply::Status(413) } else { exemplary(heard) }
    })
    .await;
    let examined = chain.examine(&receiver, &[FLAGS, &["--post"]].concat()).await;
    examined.tells("fault", "size", "413");
    assert_eq!(examined.code, Some(1));
    let other = "0123456789abcdef0123456789abcdef";
    let examined = chain.examine(&receiver, &["--app-secret", other]).await;
    examined.tells("fault", "post", "the signed event is refused with 401");
    receiver.behave(|_| Reply::Status(502));
    let examined = chain.examine(&receiver, &[]).await;
    examined.tells("fault", "handshake", "502");
    receiver.behave(|_| Reply::Close);
    let examined = chain.examine(&receiver, &[]).await;
    examined.tells("fault", "handshake", "the connection ended");
}

#[tokio::test]
async fn an_answer_that_takes_longer_than_meta_waits_is_told() {
    let chain = Chain::new();
    let silent = Receiver::tls(chain.good(), |_| Reply::Hang).await;
    let slow = Receiver::tls(chain.good(), |_| Reply::Status(403).after(Duration::from_millis(3_300))).await;
    let (silent, slow) = tokio::join!(chain.examine(&silent, &[]), chain.examine(&slow, &[]));
    assert_eq!((silent.code, slow.code), (Some(1), Some(0)));
    silent.tells("fault", "handshake", "no answer within 6 s");
    slow.tells("warning", "handshake", "the answer took 3");
}

#[tokio::test]
async fn no_listener_no_tls_and_no_name_are_told() {
    let chain = Chain::new();
    let plain = Receiver::willing().await;
    let examined = chain.examine(&plain, &[]).await;
    examined.tells("fault", "tls", "no TLS");
    let mut gone = Receiver::willing().await;
    gone.leave().await;
    let examined = chain.examine(&gone, &[]).await;
    examined.tells("fault", "tcp", "no connection");
    assert_eq!(examined.code, Some(1));
    let ended = waypost(chain.home.path(), &["doctor", "https://no-such-name.invalid/x", "--json"]).await;
    assert_eq!(ended.code, Some(1));
    let examined = Examined::of(&ended);
    examined.tells("fault", "dns", "does not resolve");
    for wrong in ["proxy.example.com/x", "ftp://proxy.example.com/", "https://u:p@proxy.example.com/"] {
        let ended = waypost(chain.home.path(), &["doctor", wrong]).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
    }
}

#[tokio::test]
async fn a_private_address_is_a_warning_and_plain_http_a_fault() {
    let home = Home::new();
    let receiver = Receiver::start(exemplary).await;
    let url = format!("http://{}{PATH}", receiver.address);
    let ended = waypost(home.path(), &["doctor", &url, "--verify-token", TOKEN, "--json"]).await;
    let examined = Examined::of(&ended);
    examined.tells("fault", "address", "plain HTTP");
    examined.tells("warning", "dns", "no public address");
    examined.tells("ok", "handshake", "byte for byte");
    // For people: words, why, what to do, and a last line that counts.
    let ended = waypost(home.path(), &["doctor", &url]).await;
    assert!(ended.out.starts_with("fault    address"), "{}", ended.out);
    assert!(
        ended.out.contains("\n         why  ") && ended.out.contains("\n         do   "),
        "{}",
        ended.out
    );
    assert!(ended.out.lines().last().unwrap().starts_with("1 fault, "), "{}", ended.out);
}

#[tokio::test]
async fn a_gateway_passes_its_own_examination() {
    let chain = Chain::new();
    let receiver = Receiver::willing().await;
    let keys = format!("app_secrets = [\"{SECRET}\"]\nverify_token = \"{TOKEN}\"");
    let setup = Setup::new().upstream(HOST, &receiver.origin(), &keys).https();
    let key = KeyPair::generate().unwrap();
    let certificate = leaf(NAME).signed_by(&key, &chain.intermediate).unwrap();
    setup.home.write("certificate.pem", certificate.pem() + &chain.intermediate.pem());
    setup.home.write("private_key.pem", key.serialize_pem());
    setup.home.write("root.pem", chain.root.pem());
    let gateway = setup.start().await;
    let url = format!("https://{NAME}:{}{PATH}", gateway.https().port());
    let examined = examine(&setup.home, &url, &[FLAGS, &["--post"]].concat()).await;
    examined.is_fine();
    examined.tells("ok", "tls", "HTTP/1.1 and HTTP/2");
    examined.tells("ok", "size", "an event of 3 MB is accepted");

    // And on the server itself: the store, the receiver, and what is wrong with one that is gone.
    let config = setup.home.config();
    let here =
        ["doctor", "--config", config.to_str().unwrap(), "--data", "data", "--ca-file", "root.pem", "--json"];
    let ended = waypost(setup.home.path(), &here).await;
    let examined = Examined::of(&ended);
    examined.tells("ok", "config", "stands");
    examined.tells("ok", "store", "the running server can write");
    examined.tells("ok", "disk", "durable");
    examined.tells("ok", "receiver", "can be connected to");
    assert_eq!(examined.code, Some(0), "{examined:?}");
    // One that was made at run time is looked at too.
    let add = ["upstream", "add", "added.example", "--origin", "http://127.0.0.1:1", "--data", "data"];
    waypost(setup.home.path(), &add).await.done();
    drop(receiver);
    let ended = waypost(setup.home.path(), &here).await;
    let examined = Examined::of(&ended);
    assert_eq!(examined.code, Some(1));
    for host in [HOST, "added.example"] {
        let told = |finding: &&Value| finding["subject"] == host && finding["check"] == "receiver";
        let told = examined.findings.iter().find(told).unwrap_or_else(|| panic!("{host}: {examined:#?}"));
        assert_eq!(told["severity"], "fault", "{told}");
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn the_servers_own_certificate_is_judged_as_a_client_is_shown_it_and_at_rest() {
    let chain = Chain::new();
    let key = KeyPair::generate().unwrap();
    let certificate = leaf("gate.invalid").signed_by(&key, &chain.intermediate).unwrap();
    let setup = Setup::new().https();
    let home = setup.home.clone();
    home.write("certificate.pem", certificate.pem());
    home.write("private_key.pem", key.serialize_pem());
    home.write("root.pem", chain.root.pem());
    let (http, https) = (free_port(), free_port());
    let text = format!(
        "[server]\ndomain = \"gate.invalid\"\nhttp = \"127.0.0.1:{http}\"\nhttps = \"127.0.0.1:{https}\"\nadmin = \"127.0.0.1:0\"\n[tls]\ncertificate = \"certificate.pem\"\nprivate_key = \"private_key.pem\"\n"
    );
    home.write("fixed.toml", text);
    let here = ["doctor", "--config", "fixed.toml", "--data", "data", "--ca-file", "root.pem", "--json"];
    let at_rest = waypost(home.path(), &here).await;
    let at_rest = Examined::of(&at_rest);
    at_rest.tells("fault", "certificate", "Doctor Middle R7");
    at_rest.tells("ok", "ports", "free to be listened on");
    at_rest.tells("fault", "dns", "does not resolve");

    home.write("certificate.pem", certificate.pem() + &chain.intermediate.pem());
    let setup = setup
        .variable("WAYPOST_DOMAIN", "gate.invalid")
        .variable("WAYPOST_HTTP", &format!("127.0.0.1:{http}"))
        .variable("WAYPOST_HTTPS", &format!("127.0.0.1:{https}"));
    let _gateway = setup.start().await;
    let running = waypost(home.path(), &here).await;
    let running = Examined::of(&running);
    running.tells("ok", "certificate", "the chain is whole: 2 certificates");
    running.tells("ok", "certificate", "it is for gate.invalid");
    running.tells("ok", "ports", "can be connected to");
}

#[tokio::test]
async fn a_server_that_does_not_run_is_examined_as_it_lies_there() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!(
        "[server]\nhttp = \"{}\"\nadmin = \"127.0.0.1:0\"\n[[upstream]]\nhost = \"private.example\"\norigin = \"http://127.0.0.1:1\"\nallow_private = false\n[[destination]]\nname = \"crm\"\nurl = \"https://127.0.0.1:1/hook\"\nallow_private = true\n",
        taken.local_addr().unwrap()
    );
    let config = home.write("waypost.toml", text);
    let config = config.to_str().unwrap();
    std::fs::create_dir(home.path().join("data")).unwrap();
    home.write("data/waypost.db", "not a store");
    let here = ["doctor", "--config", config, "--data", "data", "--json"];
    let ended = waypost(home.path(), &here).await;
    let examined = Examined::of(&ended);
    assert_eq!(examined.code, Some(1));
    examined.tells("note", "store", "no server runs");
    examined.tells("fault", "store", "too short");
    examined.tells("fault", "ports", "taken by ");
    for (name, words) in [("private.example", "no public address"), ("crm", "no connection")] {
        let told = |finding: &Value| {
            finding["subject"].as_str().unwrap().starts_with(name)
                && finding["what"].as_str().unwrap().contains(words)
        };
        assert!(examined.findings.iter().any(told), "{name}: {examined:#?}");
    }
    let left: Vec<_> = std::fs::read_dir(home.path().join("data")).unwrap().collect();
    assert_eq!(left.len(), 1, "something was left behind: {left:?}");

    home.write("waypost.toml", "[server]\nhttp = 80\n");
    let ended = waypost(home.path(), &here).await;
    assert_eq!(ended.code, Some(64));
    let examined = Examined::of(&ended);
    examined.findings.iter().for_each(|finding| assert_eq!(finding["check"], "config"));
}
