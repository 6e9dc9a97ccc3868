//! Certificates that come, and come again.

use std::sync::Arc;
use std::time::Duration;

use waypost_acme::ChallengeKind::{Http01, TlsAlpn01};
use waypost_acme::{ExternalAccount, Settings};
use waypost_domain::{Clock, UnixMillis};

use crate::authority::Authority;
use crate::bench::{Doors, Server, Shelf, until};

pub(crate) const START: UnixMillis = UnixMillis(1_795_000_000_000);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) doors: Doors,
    pub(crate) authority: Authority,
    pub(crate) shelf: Arc<Shelf>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let (clock, doors) = (Clock::manual(START), Doors::open().await);
        let authority = Authority::open(&clock, doors.http, doors.tls).await;
        Self { clock, doors, authority, shelf: Arc::default() }
    }

    pub(crate) async fn start(&self, settings: Settings) -> Server {
        Server::start(settings, &self.shelf, &self.clock, &self.doors).await
    }
}

#[tokio::test]
async fn several_names_are_proved_in_either_way_and_get_one_certificate() {
    for (kind, word) in [(Http01, "http-01"), (TlsAlpn01, "tls-alpn-01")] {
        let world = World::new().await;
        let server =
            world.start(world.authority.settings(&["b.example.com", "a.example.com"], &[kind])).await;
        until("a certificate", || server.status().not_after.is_some() && !server.status().busy).await;
        let certificate = server.installed.lock().unwrap()[0].clone();
        assert_eq!(certificate.names, ["a.example.com", "b.example.com"]);
        assert_eq!(certificate.key.cert.len(), 2, "the chain is not whole");
        assert_eq!(certificate.not_after, START.plus(90 * 24 * HOUR));
        assert_eq!(world.authority.script().validations.len(), 2);
        assert!(world.authority.script().validations.iter().all(|seen| seen.starts_with(word)));
        assert!(server.acme.unready().is_none());
        let due = server.status().next_attempt_at.since(START);
        assert!(due <= 60 * 24 * HOUR && due > 55 * 24 * HOUR, "{due:?}");
        assert_eq!(server.acme.challenges().file("tok-1-0"), None, "the answer is still given");
        assert!(server.acme.challenges().certificate("a.example.com").is_none());
    }
}

#[tokio::test]
async fn each_set_of_names_has_a_certificate_of_its_own() {
    let world = World::new().await;
    let mut settings = world.authority.settings(&["a.example.com"], &[Http01]);
    settings.certificates.push(vec!["b.example.com".to_owned()]);
    let server = world.start(settings).await;
    until("two certificates", || server.issued() == 2).await;
    assert_eq!(world.authority.script().accounts_made, 1);
}

#[tokio::test]
async fn what_was_got_outlives_a_restart_and_is_not_ordered_again() {
    let world = World::new().await;
    let settings = world.authority.settings(&["a.example.com"], &[Http01]);
    let server = world.start(settings.clone()).await;
    until("a certificate", || server.issued() == 1 && !server.status().busy).await;
    drop(server);
    world.authority.script().down = true;
    let server = world.start(settings).await;
    assert_eq!(server.installed.lock().unwrap().last().unwrap().names, ["a.example.com"]);
    assert!(server.acme.unready().is_none());
    assert_eq!(world.authority.script().orders, 1);
}

#[tokio::test]
async fn a_name_that_joins_does_not_take_the_others_certificate_away() {
    let world = World::new().await;
    let server = world.start(world.authority.settings(&["a.example.com"], &[Http01])).await;
    until("a certificate", || server.issued() == 1 && !server.status().busy).await;
    drop(server);
    world.authority.script().down = true;
    let both = world.authority.settings(&["a.example.com", "b.example.com"], &[Http01]);
    let server = world.start(both).await;
    assert_eq!(server.installed.lock().unwrap()[0].names, ["a.example.com"]);
    assert!(server.acme.unready().is_some());
}

#[tokio::test]
async fn a_short_lived_certificate_is_renewed_again_and_again() {
    let world = World::new().await;
    world.authority.script().lifetime = HOUR * 3;
    let server = world.start(world.authority.settings(&["a.example.com"], &[TlsAlpn01, Http01])).await;
    for round in 1..=6 {
        until("a certificate", || server.issued() == round && !server.status().busy).await;
        let status = server.status();
        assert_eq!(status.failures, 0, "{status:?}");
        assert!(status.next_attempt_at < status.not_after.unwrap());
        // A look before its time does nothing.
        server.advance_to(status.next_attempt_at.minus(Duration::from_secs(1)));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(server.issued(), round);
        server.advance_to(status.next_attempt_at);
    }
    assert_eq!(world.authority.script().accounts_made, 1);
}

#[tokio::test]
async fn the_authority_says_when_to_renew_and_hears_what_is_replaced() {
    let world = World::new().await;
    world.authority.script().window = Some((HOUR * 10, HOUR * 20));
    let server = world.start(world.authority.settings(&["a.example.com"], &[Http01])).await;
    until("the window to be known", || {
        let due = server.status().next_attempt_at.since(START);
        server.issued() == 1 && due >= HOUR * 10 && due <= HOUR * 20
    })
    .await;
    assert!(world.authority.script().replaced.is_empty());
    // The window moves: the authority wants the certificate gone.
    world.authority.script().window = Some((Duration::ZERO, HOUR));
    server.advance_to(START.plus(HOUR + Duration::from_secs(1)));
    until("the renewal", || server.issued() == 2).await;
    assert_eq!(world.authority.script().replaced.len(), 1);
}

#[tokio::test]
async fn an_external_account_is_bound_where_one_is_demanded() {
    let world = World::new().await;
    world.authority.script().demands_external = true;
    let mut settings = world.authority.settings(&["a.example.com"], &[Http01]);
    let server = world.start(settings.clone()).await;
    until("a refusal", || server.failures() == 1).await;
    let why = server.acme.unready().unwrap();
    assert!(why.contains("a.example.com") && why.contains("give the key id"), "{why}");
    drop(server);
    settings.external_account = Some(ExternalAccount::new("kid-7", "c2VjcmV0LXNlY3JldA").unwrap());
    world.clock.advance(HOUR);
    let server = world.start(settings).await;
    until("a certificate", || server.issued() == 1).await;
    assert_eq!(world.authority.script().external_ids, ["kid-7"]);
}
