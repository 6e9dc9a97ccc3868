//! Ten thousand sources, destinations and routes: what they weigh, how soon they are taken over, and that looking one up
//! takes no longer.

use std::fmt::Write as _;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use crate::harness::*;

const MANY: usize = 10_000;

/// So many tenants, each with an address, a receiver and a route; the receivers answer nobody.
fn tenants(many: usize) -> String {
    let mut text = String::new();
    for n in 0..many {
        let _ = write!(
            text,
            "[[source]]\nname = \"s{n}\"\ntoken = \"opaque-token-of-tenant-{n:06}\"\nverify_token = \"v{n}\"\napp_secrets = [\"secret {n}\"]\n[[destination]]\nname = \"d{n}\"\nurl = \"http://127.0.0.1:1/webhooks/whatsapp/%2B1555{n:07}\"\nallow_private = true\n[[route]]\nsource = \"s{n}\"\nmatch = {{ phone_number_id = \"{n}\" }}\nto = [\"d{n}\"]\n"
        );
    }
    text
}

/// What a process holds in memory, in MiB.
fn memory(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// How long a handshake at a source takes, on average.
async fn handshake_time(gateway: &Gateway, n: usize) -> Duration {
    let target =
        format!("/w/opaque-token-of-tenant-{n:06}?hub.mode=subscribe&hub.challenge=1&hub.verify_token=v{n}");
    let mut wire = Wire::plain(gateway.http()).await;
    let began = Instant::now();
    for _ in 0..200 {
        wire.say(&get(&target)).await;
        assert_eq!(wire.answer().await.status, 200);
    }
    began.elapsed() / 200
}

async fn reload_time(gateway: &Gateway) -> Duration {
    let before = gateway.log().matches("in force").count();
    let began = Instant::now();
    gateway.signal(Signal::HUP);
    eventually(60, "the new configuration in force", async || {
        (gateway.log().matches("in force").count() > before).then_some(())
    })
    .await;
    began.elapsed()
}

#[tokio::test]
#[ignore = "a measure, for an optimised build and a machine at rest: cargo test --release -- --ignored many"]
async fn ten_thousand_of_each_are_light_and_soon_taken_over() {
    let few = Setup::new().section(&tenants(1)).start().await;
    let (light, quick) = (memory(few.process()), handshake_time(&few, 0).await);
    drop(few);
    // One source is added later, and there may be no more.
    let setup = Setup::new().section(&tenants(MANY - 1));
    let began = Instant::now();
    let gateway = setup.start().await;
    let started = began.elapsed();
    let heavy = memory(gateway.process());
    let looked_up = handshake_time(&gateway, MANY - 2).await;
    let unchanged = reload_time(&gateway).await;
    let changed = setup.clone().section("[[source]]\nname = \"one-more\"\ntoken = \"opaque-token-of-one-more\"\nverify_token = \"v\"\napp_secrets = [\"s\"]\n");
    changed.write();
    let one_more = reload_time(&gateway).await;
    let after = memory(gateway.process());
    println!(
        "started in {started:?}; reloaded in {unchanged:?}, with one more in {one_more:?}; {light:.1} MiB with one tenant, {heavy:.1} with {MANY}, {after:.1} after reloads; a handshake in {quick:?} and {looked_up:?}"
    );
    assert!(heavy - light < 60.0, "{} MiB for {MANY} of each", heavy - light);
    assert!(one_more < Duration::from_secs(1), "a reload took {one_more:?}");
    assert!(looked_up < quick * 3, "{looked_up:?} with many, {quick:?} with one");
}
