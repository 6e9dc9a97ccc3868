//! Authorities in trouble, and configurations that cannot work.

use std::sync::atomic::Ordering;
use std::time::Duration;

use waypost_acme::ChallengeKind::{Http01, TlsAlpn01};
use waypost_acme::limits::{ATTEMPTS_MAX, BUDGET_TIME};

use crate::bench::{Doors, until};
use crate::issuing::{HOUR, START, World};

#[tokio::test]
async fn nonces_that_are_not_taken_do_not_cost_an_attempt() {
    let world = World::new().await;
    world.authority.script().refuse_every_nonce = 3;
    let server = world.start(world.authority.settings(&["a.example.com", "b.example.com"], &[Http01])).await;
    until("a certificate", || server.issued() == 1).await;
    assert_eq!((server.failures(), world.authority.script().orders), (0, 1));
}

#[tokio::test]
async fn a_server_that_nobody_reaches_stays_within_the_budget_over_restarts() {
    let mut world = World::new().await;
    // The authority looks elsewhere: the name leads to another machine.
    let elsewhere = Doors::open().await;
    world.authority = crate::authority::Authority::open(&world.clock, elsewhere.http, elsewhere.tls).await;
    let settings = world.authority.settings(&["a.example.com"], &[Http01, TlsAlpn01]);
    let mut begun = Vec::new();
    // A day of a supervisor that restarts the process every five minutes, and an operator who hurries each time.
    for _ in 0..(24 * 12) {
        let before = world.authority.script().orders;
        let server = world.start(settings.clone()).await;
        server.acme.hurry();
        if server.status().next_attempt_at <= world.clock.wall() {
            until("an attempt", || server.failures() == 1 && !server.status().busy).await;
        }
        let after = world.authority.script().orders;
        begun.extend((before..after).map(|_| world.clock.wall()));
        world.clock.advance(Duration::from_secs(300));
    }
    assert!(begun.len() > ATTEMPTS_MAX * 5, "{}", begun.len());
    for hour in begun.windows(ATTEMPTS_MAX + 1) {
        assert!(hour[ATTEMPTS_MAX].since(hour[0]) >= BUDGET_TIME - Duration::from_secs(1));
    }
    let script = world.authority.script();
    assert!(script.validations.iter().any(|seen| seen.starts_with("http-01")));
    assert!(
        script.validations.iter().any(|seen| seen.starts_with("tls-alpn-01")),
        "the other way was never tried"
    );
}

#[tokio::test]
async fn what_the_authority_found_is_said() {
    let mut world = World::new().await;
    let elsewhere = Doors::open().await;
    world.authority = crate::authority::Authority::open(&world.clock, elsewhere.http, elsewhere.tls).await;
    let server = world.start(world.authority.settings(&["a.example.com"], &[Http01])).await;
    until("a failure", || server.failures() == 1 && !server.status().busy).await;
    let error = server.status().last_error.unwrap();
    assert_eq!(error.at, START);
    assert_eq!(error.sentence, "a.example.com: wrong answer (unauthorized)");
    assert!(server.acme.unready().unwrap().contains("wrong answer"));
}

#[tokio::test]
async fn a_rate_limit_is_waited_out_as_long_as_the_authority_says() {
    let world = World::new().await;
    world.authority.script().rate_limited = Some(7_200);
    let server = world.start(world.authority.settings(&["a.example.com"], &[Http01])).await;
    until("a refusal", || server.failures() == 1 && !server.status().busy).await;
    assert_eq!(server.status().next_attempt_at, START.plus(HOUR * 2));
    world.authority.script().rate_limited = None;
    server.advance_to(START.plus(HOUR));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(world.authority.script().orders, 1);
    server.advance_to(START.plus(HOUR * 2));
    until("a certificate", || server.issued() == 1).await;
}

#[tokio::test]
async fn an_authority_that_is_down_costs_no_budget_and_the_old_certificate_is_served_on() {
    let world = World::new().await;
    let settings = world.authority.settings(&["a.example.com"], &[Http01]);
    let server = world.start(settings.clone()).await;
    until("a certificate", || server.issued() == 1 && !server.status().busy).await;
    let first_due = server.status().next_attempt_at;
    drop(server);
    let server = world.start(settings).await;
    for (down, broken) in [(true, false), (false, true)] {
        world.authority.script().down = down;
        world.authority.script().broken = broken;
        for _ in 0..4 {
            let failures = server.failures();
            server.advance_to(server.status().next_attempt_at.max(first_due));
            until("a failure", || server.failures() > failures && !server.status().busy).await;
        }
    }
    let status = server.status();
    assert_eq!((status.failures, world.authority.script().orders), (8, 1));
    assert!(status.not_after.is_some() && server.acme.unready().is_none(), "{status:?}");
    assert_eq!(server.installed.lock().unwrap().last().unwrap().not_after, status.not_after.unwrap());
    world.authority.script().broken = false;
    server.advance_to(status.next_attempt_at);
    until("the renewal", || server.issued() == 1 && server.status().failures == 0).await;
}

#[tokio::test]
async fn an_authority_that_forgot_the_account_gets_another() {
    let world = World::new().await;
    world.authority.script().lifetime = HOUR * 3;
    let server = world.start(world.authority.settings(&["a.example.com"], &[Http01])).await;
    until("a certificate", || server.issued() == 1 && !server.status().busy).await;
    world.authority.script().accounts.clear();
    server.advance_to(server.status().next_attempt_at);
    until("the renewal", || server.issued() == 2).await;
    assert_eq!(world.authority.script().accounts_made, 2);
}

#[tokio::test]
async fn nothing_is_ordered_while_nothing_can_be_kept() {
    let world = World::new().await;
    world.shelf.full.store(true, Ordering::SeqCst);
    let server = world.start(world.authority.settings(&["a.example.com"], &[Http01])).await;
    until("a failure", || server.failures() == 1 && !server.status().busy).await;
    let (orders, accounts) = {
        let script = world.authority.script();
        (script.orders, script.accounts_made)
    };
    assert_eq!((orders, accounts), (0, 0));
    assert!(server.acme.unready().unwrap().contains("the disk is full"));
    world.shelf.full.store(false, Ordering::SeqCst);
    server.advance_to(server.status().next_attempt_at);
    until("a certificate", || server.issued() == 1).await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_kept_is_served_not_ordered_again_and_kept_later() {
    let world = World::new().await;
    world.shelf.full_for_certificates.store(true, Ordering::SeqCst);
    let server = world.start(world.authority.settings(&["a.example.com"], &[Http01])).await;
    until("a failure", || server.failures() == 1 && !server.status().busy).await;
    assert!(server.acme.unready().is_none(), "it is not served");
    server.advance_to(START.plus(HOUR * 24));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(world.authority.script().orders, 1);
    world.shelf.full_for_certificates.store(false, Ordering::SeqCst);
    server.acme.look();
    let kept = || world.shelf.values.lock().unwrap().keys().any(|key| key.contains("certificate"));
    until("the certificate to be kept", kept).await;
}

#[tokio::test]
async fn keys_are_in_no_error_and_no_debug_text() {
    let world = World::new().await;
    let server = world.start(world.authority.settings(&["a.example.com"], &[Http01])).await;
    until("a certificate", || server.issued() == 1).await;
    let shown = format!("{:?} {:?}", server.installed.lock().unwrap(), server.acme.status());
    assert!(!shown.contains("PRIVATE") && !shown.to_lowercase().contains("pkcs8"), "{shown}");
    let keys: Vec<_> = world.shelf.values.lock().unwrap().keys().cloned().collect();
    assert_eq!(keys.len(), 3, "{keys:?}");
}
