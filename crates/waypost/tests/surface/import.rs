//! `waypost import nginx`: what it writes passes the check, and nothing is lost in silence.

use serde_json::Value;

use crate::harness::*;

/// A proxy with an allow-list, as one would have set it up by hand.
fn proxy(certificate: &str, key: &str) -> String {
    format!(
        r"map $upstream_host $upstream_allowed {{
    default 0;
    chatwoot.example.com 1;
    chatwoot.client.example 1; # a client
}}
server {{
    listen 80;
    server_name proxy.example.com;
    location /.well-known/acme-challenge/ {{ root /var/www/html; }}
    location / {{ return 301 https://$host$request_uri; }}
}}
server {{
    listen 443 ssl;
    server_name proxy.example.com;
    resolver 9.9.9.9 valid=300s;
    resolver_timeout 5s;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    location ~ ^/([^/]+)(/.*)$ {{
        set $upstream_host $1;
        set $upstream_path $2;
        if ($upstream_allowed = 0) {{ return 403; }}
        proxy_pass https://$upstream_host$upstream_path$is_args$args;
        proxy_set_header Host $upstream_host;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_ssl_server_name on;
    }}
    location / {{ return 404; }}
}}
"
    )
}

#[tokio::test]
async fn a_proxy_becomes_a_configuration_that_passes_the_check() {
    let home = Home::new();
    let (chain, key) = Authority::new().pair("proxy.example.com");
    let chain = home.write("fullchain.pem", chain);
    let key = home.write("privkey.pem", key);
    home.write("proxy.conf", proxy(chain.to_str().unwrap(), key.to_str().unwrap()));
    let ended = waypost(home.path(), &["import", "nginx", "proxy.conf", "--out", "new.toml"]).await.done();
    assert!(ended.out.starts_with("new.toml: 2 upstreams; it passes `waypost check`"), "{}", ended.out);
    for line in ["proxy.conf:15: resolver", "proxy.conf:16: resolver_timeout"] {
        assert!(ended.out.contains(line), "{line} in {}", ended.out);
    }
    let checked = waypost(home.path(), &["check", "--config", "new.toml"]).await.done();
    assert!(checked.out.contains("stands: 2 upstreams"), "{}", checked.out);
    let written = std::fs::read_to_string(home.path().join("new.toml")).unwrap();
    let table: toml::Table = written.parse().unwrap();
    assert_eq!(table["server"]["domain"].as_str(), Some("proxy.example.com"));
    assert_eq!(table["tls"]["certificate"].as_str(), chain.to_str());
    let hosts: Vec<_> =
        table["upstream"].as_array().unwrap().iter().map(|it| it["host"].as_str().unwrap()).collect();
    assert_eq!(hosts, ["chatwoot.example.com", "chatwoot.client.example"]);

    // A second time, the file is there.
    let again = waypost(home.path(), &["import", "nginx", "proxy.conf", "--out", "new.toml"]).await;
    assert_eq!(again.code, Some(1), "{again:?}");
    assert_eq!(std::fs::read_to_string(home.path().join("new.toml")).unwrap(), written);
}

#[tokio::test]
async fn certificates_that_cannot_be_read_leave_a_configuration_that_stands_and_says_so() {
    let home = Home::new();
    home.write("proxy.conf", proxy("/nowhere/fullchain.pem", "/nowhere/privkey.pem"));
    let ended =
        waypost(home.path(), &["import", "nginx", "proxy.conf", "--json", "--mode", "relay"]).await.done();
    let said: Value = serde_json::from_str(&ended.out).unwrap();
    let left = said["left"].as_array().unwrap();
    assert!(left.iter().any(|left| left["why"].as_str().unwrap().contains("HTTPS is off")), "{left:#?}");
    assert!(left.iter().all(|left| left["line"].as_u64().unwrap() > 0));
    home.write("new.toml", said["toml"].as_str().unwrap());
    waypost(home.path(), &["check", "--config", "new.toml"]).await.done();
    assert!(said["toml"].as_str().unwrap().contains("mode = \"relay\""));
}

#[tokio::test]
async fn what_is_no_proxy_is_told_and_writes_nothing() {
    let home = Home::new();
    for (name, text, words) in [
        ("empty.conf", "", "no receiver"),
        ("cut.conf", "server {\n listen 80;\n", "line 1"),
        ("web.conf", "server { listen 80; root /srv; }", "no receiver"),
        ("odd.conf", "\0\u{fffd}}{;\"", "line 1"),
    ] {
        home.write(name, text);
        let ended = waypost(home.path(), &["import", "nginx", name, "--out", "out.toml"]).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains(name) && ended.err.contains(words), "{ended:?}");
        assert!(!home.path().join("out.toml").exists());
    }
    home.write("bytes.conf", [0xff, 0xfe, b'{', 0x80]);
    assert_eq!(waypost(home.path(), &["import", "nginx", "bytes.conf"]).await.code, Some(1));
    home.write("large.conf", vec![b'#'; 2 * 1024 * 1024]);
    let ended = waypost(home.path(), &["import", "nginx", "large.conf"]).await;
    assert!(ended.code == Some(1) && ended.err.contains("1 MiB"), "{ended:?}");
    assert_eq!(waypost(home.path(), &["import", "nginx", "nowhere.conf"]).await.code, Some(1));
    assert_eq!(waypost(home.path(), &["import", "nginx"]).await.code, Some(2));
    assert_eq!(waypost(home.path(), &["import"]).await.code, Some(2));
}
