//! The answer table: which request gets which status, and what never gets to a receiver.

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::*;

/// One gateway with a storing, a relaying and a narrow upstream before one willing receiver.
async fn house() -> (Gateway, Receiver) {
    let receiver = Receiver::willing().await;
    let origin = receiver.origin();
    let gateway = Setup::new()
        .upstream(HOST, &origin, "")
        .upstream("relay.example.com", &origin, "mode = \"relay\"")
        .upstream("ported.example.com:8443", &origin, "mode = \"relay\"")
        .upstream("narrow.example.com", &origin, "paths = [\"/webhooks/\"]")
        .start()
        .await;
    (gateway, receiver)
}

/// Asks all of them and lists those that got another answer than they should.
async fn all_answer(gateway: &Gateway, status: u16, requests: &[Vec<u8>]) {
    let mut wrong = Vec::new();
    for request in requests {
        let mut wire = Wire::plain(gateway.http()).await;
        wire.say(request).await;
        let answer = within(10, "an answer", wire.try_answer()).await;
        if answer.as_ref().map(|answer| answer.status) != Some(status) {
            let line = String::from_utf8_lossy(request).lines().next().unwrap_or_default().to_owned();
            wrong.push(format!("{line} => {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "not {status}:\n{}", wrong.join("\n"));
}

fn gets(targets: &[&str]) -> Vec<Vec<u8>> {
    targets.iter().map(|target| get(target)).collect()
}

fn posts(targets: &[&str]) -> Vec<Vec<u8>> {
    targets.iter().map(|target| post(target, &[], b"{}")).collect()
}

#[tokio::test]
async fn the_five_checks_of_the_nginx_recipe_hold() {
    let mut receiver = Receiver::willing().await;
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), "").start().await;
    let http = gateway.http();
    assert_eq!(ask(http, &get("/")).await.status, 404);
    assert_eq!(ask(http, &get("/unknown.host/webhooks/whatsapp/test")).await.status, 403);
    assert_eq!(ask(http, &get(&format!("/{HOST}/webhooks/whatsapp/test"))).await.status, 200);
    receiver.leave().await;
    let started = Instant::now();
    assert_eq!(ask(http, &get(&format!("/{HOST}/webhooks/whatsapp/test"))).await.status, 502);
    assert!(started.elapsed() < Duration::from_secs(1), "a refused connection takes no time");
    assert_eq!(ask(http, &post(CALLBACK, &[], &text(1))).await.status, 200);
}

#[tokio::test]
async fn what_leads_nowhere_is_404() {
    let (gateway, receiver) = house().await;
    let targets = [
        "/",
        "/?x=/y",
        "//",
        "//chatwoot.example.com/x",
        "/chatwoot.example.com",
        "/chatwoot.example.com?x=/y/z",
        "/unknown.example.com",
        "/favicon.ico",
        "/healthz",
        "/readyz",
        "/metrics",
        "/w/unknown-token",
        "/w/unknown-token?hub.mode=subscribe&hub.verify_token=a&hub.challenge=1",
        "/.well-known/acme-challenge/unknown",
    ];
    all_answer(&gateway, 404, &gets(&targets)).await;
    all_answer(&gateway, 404, &posts(&targets)).await;
    assert!(receiver.heard().is_empty());
}

#[tokio::test]
async fn what_is_not_on_the_list_is_403() {
    let (gateway, receiver) = house().await;
    let targets = [
        "/unknown.example.com/",
        "/unknown.example.com/webhooks/whatsapp/%2B5511999999999",
        "/chatwoot.example.com:443/x",
        "/chatwoot.example.com:80/x",
        "/chatwoot.example.com:/x",
        "/chatwoot.example.com./x",
        "/chatwoot.example.com.evil.test/x",
        "/evil.chatwoot.example.com/x",
        "/user@chatwoot.example.com/x",
        "/chatwoot.example.com%00/x",
        "/chatwoot.example.com%2f@evil.test/x",
        "/chatwoot.example.com%20/x",
        "/chatwoot%252Eexample.com/x",
        "/ported.example.com/x",
        "/ported.example.com:08443/x",
        "/ported.example.com:8443:8443/x",
        "/*/x",
        "/127.0.0.1/x",
        "/localhost/x",
        "/api/v1/events",
        "/chatwoot.example.co/x",
        // The path is let through with its slash or not at all.
        "/narrow.example.com/",
        "/narrow.example.com/webhooks",
        "/narrow.example.com/super_admin",
        "/narrow.example.com/Webhooks/x",
        "/narrow.example.com/%77ebhooks/x",
        "/narrow.example.com//webhooks/x",
    ];
    all_answer(&gateway, 403, &gets(&targets)).await;
    all_answer(&gateway, 403, &posts(&targets)).await;
    all_answer(&gateway, 200, &posts(&["/narrow.example.com/webhooks/whatsapp/1"])).await;
    assert_eq!(receiver.hears(1).await.len(), 1);
}

#[tokio::test]
async fn a_host_is_compared_without_case_and_decoded_once() {
    let (gateway, receiver) = house().await;
    let targets = [
        "/relay.example.com/x",
        "/RELAY.Example.COM/x",
        "/relay%2Eexample%2ecom/x",
        "/%72elay.example.com/x",
        "/ported.example.com:8443/x",
        "/PORTED.example.com%3A8443/x",
    ];
    all_answer(&gateway, 200, &gets(&targets)).await;
    let heard = receiver.heard();
    assert_eq!(heard.len(), targets.len());
    assert!(heard.iter().all(|heard| heard.request_line() == "GET /x HTTP/1.1"), "{heard:?}");
    let hosts: Vec<_> = heard.iter().flat_map(|heard| heard.all("host")).collect();
    assert_eq!(hosts[0], "relay.example.com");
    assert_eq!(hosts[1], "relay.example.com", "the receiver's host, however the caller wrote it");
    assert_eq!(hosts[4], "ported.example.com:8443");
}

#[tokio::test]
async fn tricks_with_the_path_are_400_and_reach_nobody() {
    let (gateway, receiver) = house().await;
    let paths = [
        "/..",
        "/.",
        "/../x",
        "/a/..",
        "/a/../b",
        "/a/./b",
        "/a/%2e%2e/b",
        "/a/%2E./b",
        "/a/.%2e",
        "/%2e/x",
        "/a/..;/b",
        "/a/..%3bx/b",
        "/a%2Fb",
        "/a%2fb",
        "/x%2F..%2Fadmin",
        "/a%5Cb",
        "/a%5cb",
        "/a\\b",
        "/..\\x",
        "/a%00b",
        "/a%0db",
        "/a%0ab",
        "/a%0d%0aX: 1",
        "/a%zz",
        "/a%",
        "/a%2",
        "/a%7f",
    ];
    for host in [HOST, "relay.example.com"] {
        let targets: Vec<_> = paths.iter().map(|path| format!("/{host}{path}")).collect();
        let targets: Vec<_> = targets.iter().map(String::as_str).collect();
        all_answer(&gateway, 400, &posts(&targets)).await;
        all_answer(&gateway, 400, &gets(&targets)).await;
    }
    // Before the narrow path is looked at, too.
    all_answer(&gateway, 400, &posts(&["/narrow.example.com/webhooks/../super_admin"])).await;
    // Forms of a target that are no path.
    let request = |line: &str| format!("{line}\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n").into_bytes();
    let forms = [
        "GET http://relay.example.com/x HTTP/1.1",
        "POST http://chatwoot.example.com/chatwoot.example.com/x HTTP/1.1",
        "GET * HTTP/1.1",
        "GET relay.example.com/x HTTP/1.1",
        "GET /relay.example.com/a b HTTP/1.1",
    ];
    all_answer(&gateway, 400, &forms.map(request)).await;
    assert!(receiver.heard().is_empty(), "{:?}", receiver.heard());
    assert!(gateway.events(&[]).await.is_empty());
}

#[tokio::test]
async fn other_methods_are_405_and_reach_nobody() {
    let (gateway, receiver) = house().await;
    for host in [HOST, "relay.example.com"] {
        for method in ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO", "get", "post"] {
            let request =
                format!("{method} /{host}/webhooks/x HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n");
            let mut wire = Wire::plain(gateway.http()).await;
            wire.say(request.as_bytes()).await;
            if method == "HEAD" {
                // The answer has no body, whatever its length says.
                let text = wire.rest(5).await;
                assert!(text.starts_with("HTTP/1.1 405 ") && text.ends_with("\r\n\r\n"), "{text}");
                continue;
            }
            let answer = wire.answer().await;
            assert_eq!(answer.status, 405, "{method}: {answer:?}");
            assert_eq!(answer.header("allow"), Some("GET, POST"));
        }
    }
    let connect = b"CONNECT chatwoot.example.com:443 HTTP/1.1\r\nHost: chatwoot.example.com:443\r\n\r\n";
    all_answer(&gateway, 405, &[connect.to_vec()]).await;
    // What is not allowed is not allowed by any method.
    all_answer(&gateway, 403, &[b"PUT /unknown.example.com/x HTTP/1.1\r\nHost: p\r\n\r\n".to_vec()]).await;
    assert!(receiver.heard().is_empty());
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_one_at_the_limit_is_not() {
    let (gateway, receiver) = house().await;
    let most = 4 * 1024 * 1024;
    assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], &vec![b' '; most])).await.status, 200);
    assert_eq!(receiver.hears(1).await[0].body.len(), most);

    // Announced: refused before anything of it is asked for.
    let mut wire = Wire::plain(gateway.http()).await;
    let head = format!(
        "POST {CALLBACK} HTTP/1.1\r\nHost: p\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        most + 1
    );
    wire.say(head.as_bytes()).await;
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.interim), (413, Vec::new()));
    // Announced and sent: the client sees the answer all the same.
    assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], &vec![b' '; most + 1])).await.status, 413);
    assert_eq!(
        ask(gateway.http(), &post("/relay.example.com/x", &[], &vec![b' '; most + 1])).await.status,
        413
    );
    // Not announced.
    let mut chunked =
        format!("POST {CALLBACK} HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..=4 {
        chunked.extend(b"100000\r\n");
        chunked.extend(vec![b' '; 1024 * 1024]);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    assert_eq!(ask(gateway.http(), &chunked).await.status, 413);
    assert_eq!(gateway.events(&[]).await.len(), 1);
}

#[tokio::test]
async fn what_is_no_http_is_answered_or_cut_and_harms_nobody() {
    let (gateway, receiver) = house().await;
    let target = "/relay.example.com/x";
    let requests: Vec<String> = vec![
        format!("POST {target} HTTP/1.1\r\nHost: p\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}"),
        format!("POST {target} HTTP/1.1\r\nHost: p\r\nContent-Length: -1\r\n\r\n"),
        format!("POST {target} HTTP/1.1\r\nHost: p\r\nContent-Length: +2\r\n\r\n{{}}"),
        format!("POST {target} HTTP/1.1\r\nHost: p\r\nContent-Length: 2, 2\r\n\r\n{{}}"),
        format!("POST {target} HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: gzip\r\n\r\n"),
        format!("POST {target} HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        format!("POST {target} HTTP/1.1\r\nHost: p\r\nno colon\r\nContent-Length: 2\r\n\r\n{{}}"),
        format!("POST {target} HTTP/1.1\r\nHost: p\r\nX-A : 1\r\nContent-Length: 2\r\n\r\n{{}}"),
        format!("POST {target} HTTP/1.1\r\nHost: p\r\nX-A: 1\r\n folded\r\nContent-Length: 2\r\n\r\n{{}}"),
        format!("POST {target} HTTP/1.1\r\nHost: p\r\nX-A: \0\r\nContent-Length: 2\r\n\r\n{{}}"),
        format!("POST {target} HTTP/3.0\r\nHost: p\r\n\r\n"),
        "\u{16}\u{3}\u{1}\u{0}\u{5}hello".to_owned(),
        "nonsense\r\n\r\n".to_owned(),
    ];
    for request in &requests {
        let mut wire = Wire::plain(gateway.http()).await;
        wire.say(request.as_bytes()).await;
        wire.hang_up().await;
        let answer = within(10, request, wire.try_answer()).await;
        // 501: a transfer coding that is not known (RFC 9112, section 6.1).
        let is_refusal = |status| (400..500).contains(&status) || status == 501;
        let refused = answer.as_ref().is_none_or(|answer| is_refusal(answer.status));
        assert!(refused, "{request:?} => {answer:?}");
    }
    assert!(receiver.heard().is_empty(), "{:?}", receiver.heard());
    assert_eq!(ask(gateway.http(), &get(target)).await.status, 200);
}

#[tokio::test]
async fn a_relayed_answer_is_the_receivers_own() {
    let receiver = Receiver::start(|heard| {
        let status = match heard.request_line().split(' ').nth(1).unwrap() {
            "/unauthorized" => "401 Unauthorized",
            "/broken" => "500 Internal Server Error",
            "/moved" => "302 Found",
            "/teapot" => "418 I'm a teapot",
            _ => "200 OK",
        };
        Reply::Say(format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nLocation: http://127.0.0.1:1/\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Request-Id: r7\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 9\r\n\r\n{{\"a\":\"b\"}}").into_bytes())
    })
    .await;
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), "mode = \"relay\"").start().await;
    for (path, status) in
        [("/unauthorized", 401), ("/broken", 500), ("/moved", 302), ("/teapot", 418), ("/fine", 200)]
    {
        for request in [get(&format!("/{HOST}{path}")), post(&format!("/{HOST}{path}"), &[], b"{}")] {
            let answer = ask(gateway.http(), &request).await;
            assert_eq!((answer.status, answer.text().as_str()), (status, "{\"a\":\"b\"}"));
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert_eq!(answer.header("x-request-id"), Some("r7"));
            let cookies = answer.lines.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
            assert_eq!(cookies.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["a=1", "b=2"]);
            assert_eq!((answer.header("x-hop"), answer.header("keep-alive")), (None, None));
        }
    }
    assert_eq!(receiver.heard().len(), 10, "redirects are not followed, nothing is tried twice");
}

#[tokio::test]
async fn a_receiver_may_end_its_connections_answer_early_or_without_a_body() {
    let receiver = Receiver::start(|heard| match heard.request_line().split(' ').nth(1).unwrap() {
        // It promises to stay and does not.
        "/leaves" => Reply::SayAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()),
        "/resets" => Reply::OkThenReset,
        "/until-close" => Reply::SayAndClose(b"HTTP/1.1 200 OK\r\n\r\nall there is".to_vec()),
        "/http-1.0" => Reply::SayAndClose(b"HTTP/1.0 200 OK\r\n\r\nall there is".to_vec()),
        "/hints" => Reply::Say(
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nall there is".to_vec(),
        ),
        "/chunked" => Reply::Say(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nall \r\n8\r\nthere is\r\n0\r\n\r\n".to_vec(),
        ),
        "/nothing" => Reply::Say(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        "/unchanged" => Reply::Say(b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n".to_vec()),
        _ => Reply::Status(200),
    })
    .await;
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), "mode = \"relay\"").start().await;
    for path in
        ["/leaves", "/resets", "/until-close", "/http-1.0", "/hints", "/chunked", "/nothing", "/unchanged"]
    {
        let status = match path {
            "/nothing" => 204,
            "/unchanged" => 304,
            _ => 200,
        };
        let has_body = ["/until-close", "/http-1.0", "/hints", "/chunked"].contains(&path);
        for number in 0..3 {
            let answer = ask(gateway.http(), &post(&format!("/{HOST}{path}"), &[], b"{}")).await;
            assert_eq!(answer.status, status, "{path}, time {number}: {answer:?}");
            assert_eq!(answer.text(), if has_body { "all there is" } else { "" }, "{path}");
            // Time for the receiver's end to be seen.
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }
    assert_eq!(receiver.heard().len(), 24, "each was said once");
}

#[tokio::test]
async fn an_http_1_0_caller_is_answered_and_let_go() {
    let (gateway, receiver) = house().await;
    let mut wire = Wire::plain(gateway.http()).await;
    wire.say(b"POST /relay.example.com/x HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}").await;
    let said = wire.rest(5).await;
    assert!(said.starts_with("HTTP/1.0 200 ") || said.starts_with("HTTP/1.1 200 "), "{said}");
    assert_eq!(receiver.heard()[0].body, b"{}");
}

#[tokio::test]
async fn a_receiver_that_cannot_be_spoken_to_is_502_and_a_slow_one_504() {
    let authority = Authority::new();
    let home = Home::new();
    let ca = home.write("ca.pem", authority.pem());
    let stranger = Receiver::tls(authority.server("somebody.else.example"), |_| Reply::Status(200)).await;
    let untrusted = Receiver::tls(Authority::new().server("untrusted.example"), |_| Reply::Status(200)).await;
    let plain = Receiver::willing().await;
    let mut gone = Receiver::willing().await;
    let closing = Receiver::start(|_| Reply::Close).await;
    let resetting = Receiver::start(|_| Reply::Reset).await;
    let garbling = Receiver::start(|_| Reply::SayAndClose(b"ICY 200 OK\r\n\r\n".to_vec())).await;
    let hanging = Receiver::start(|_| Reply::Hang).await;
    let keys = format!("mode = \"relay\"\ntimeout = \"1s\"\nconnect_timeout = \"1s\"\nca_file = {ca:?}");
    let mut setup = Setup::new();
    for (host, origin) in [
        ("stranger.example", stranger.origin()),
        ("untrusted.example", untrusted.origin()),
        ("not-tls.example", plain.origin().replace("http:", "https:")),
        ("gone.example", gone.origin()),
        ("closing.example", closing.origin()),
        ("resetting.example", resetting.origin()),
        ("garbling.example", garbling.origin()),
        ("unresolvable.example", "https://does-not-resolve.invalid".to_owned()),
        ("hanging.example", hanging.origin()),
    ] {
        setup = setup.upstream(host, &origin, &keys);
    }
    gone.leave().await;
    let gateway = setup.start().await;
    for (host, status) in [
        ("stranger.example", 502),
        ("untrusted.example", 502),
        // It waits for words in clear, until the time is up.
        ("not-tls.example", 504),
        ("gone.example", 502),
        ("closing.example", 502),
        ("resetting.example", 502),
        ("garbling.example", 502),
        ("unresolvable.example", 502),
        ("hanging.example", 504),
    ] {
        for request in [get(&format!("/{host}/x")), post(&format!("/{host}/x"), &[], b"{}")] {
            let started = Instant::now();
            let answer = ask(gateway.http(), &request).await;
            assert_eq!(answer.status, status, "{host}: {answer:?}");
            assert!(started.elapsed() < Duration::from_millis(5_500), "{host} took {:?}", started.elapsed());
        }
    }
    assert!(stranger.heard().is_empty() && untrusted.heard().is_empty(), "nothing is said to strangers");
    let posts = |receiver: &Receiver| {
        receiver.heard().iter().filter(|heard| heard.request_line().starts_with("POST")).count()
    };
    for receiver in [&closing, &resetting, &garbling, &hanging] {
        let times = receiver.hears(1).await.len();
        assert!(times >= 1 && posts(receiver) <= 1, "a POST that may have arrived is not said again");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_taken_for_whole() {
    let receiver = Receiver::start(|_| {
        Reply::SayAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly a part".to_vec())
    })
    .await;
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), "mode = \"relay\"").start().await;
    let mut wire = Wire::plain(gateway.http()).await;
    wire.say(&post(CALLBACK, &[], b"{}")).await;
    let answer = within(10, "the end", wire.try_answer()).await;
    assert!(answer.as_ref().is_none_or(|answer| answer.status == 502), "{answer:?}");
}

#[tokio::test]
async fn store_mode_answers_200_and_nothing_else_whatever_the_receiver_does() {
    let receiver = Receiver::start(|_| Reply::Status(500)).await;
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), "").start().await;
    for number in 0..3 {
        let answer = ask(gateway.http(), &post(CALLBACK, &[], &text(number))).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        assert_eq!(answer.header("content-length"), Some("0"));
    }
}

#[tokio::test]
async fn a_private_address_is_called_only_where_the_operator_wrote_it() {
    let receiver = Receiver::willing().await;
    let gateway = Setup::new()
        .upstream("denied.example", &receiver.origin(), "mode = \"relay\"\nallow_private = false")
        .upstream("meant.example", &receiver.origin(), "mode = \"relay\"")
        // An upstream whose name is an address, and one whose name resolves to one.
        .argument(&format!("--allow={}", receiver.address))
        .argument(&format!("--allow=localhost:{}", receiver.address.port()))
        .start()
        .await;
    for host in
        ["denied.example", &receiver.address.to_string(), &format!("localhost:{}", receiver.address.port())]
    {
        let answer = ask(gateway.http(), &get(&format!("/{host}/x"))).await;
        assert_eq!(
            (answer.status, answer.header("waypost-error")),
            (502, Some("address_forbidden")),
            "{host}"
        );
    }
    assert!(receiver.heard().is_empty());
    assert_eq!(ask(gateway.http(), &get("/meant.example/x")).await.status, 200);
}

#[tokio::test]
async fn the_admin_pages_are_on_the_admin_address_and_the_api_wants_a_token() {
    let gateway = Setup::new().start().await;
    let admin = gateway.admin();
    assert_eq!(ask(admin, &get("/healthz")).await.status, 200);
    assert_eq!(ask(admin, &get("/readyz")).await.status, 200);
    let metrics = ask(admin, &get("/metrics")).await;
    assert_eq!(metrics.status, 200);
    assert!(
        metrics.header("content-type").unwrap().starts_with("text/plain")
            || metrics.header("content-type").unwrap().contains("openmetrics")
    );
    for line in metrics.text().lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("waypost_"), "{line}");
    }
    for target in ["/api/v1/events", "/api/v1/upstreams", "/api/v1/nothing", "/nothing"] {
        let answer = ask(admin, &get(target)).await;
        assert!(matches!(answer.status, 401 | 404), "{target}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{target}");
    }
    let token = std::fs::read_to_string(gateway.data().join("admin-token")).unwrap();
    let request =
        format!("GET /api/v1/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n", token.trim());
    assert_eq!(ask(admin, request.as_bytes()).await.status, 200);
    use std::os::unix::fs::PermissionsExt;
    for name in ["admin-token", "waypost.sock", "waypost.db"] {
        let mode = std::fs::metadata(gateway.data().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} is open to others: {mode:o}");
    }
}
