//! The promises of tokens.

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tempfile::TempDir;
use waypost_domain::limits;
use waypost_store::StoreOptions;

use super::*;

const SECRET: &str = "a secret of others that is thirty-two bytes long or more";
const NOON: UnixMillis = UnixMillis(1_790_000_000_000);

struct House {
    clock: Clock,
    folder: TempDir,
}

impl House {
    fn new() -> Self {
        Self { clock: Clock::manual(NOON), folder: tempfile::tempdir().unwrap() }
    }

    fn store(&self) -> Store {
        let options = StoreOptions {
            path: self.folder.path().join("waypost.db"),
            readers: 1,
            queue_max: limits::WRITER_QUEUE_MAX,
            queue_bytes_max: limits::WRITER_QUEUE_BYTES_MAX,
            dedupe_window: limits::DEDUPE_WINDOW,
            bytes_max: None,
            journal_bytes_max: waypost_store::JOURNAL_BYTES_MAX,
            free_bytes_min: 0,
        };
        Store::open(options, self.clock.clone()).unwrap()
    }

    async fn tokens(&self, store: &Store) -> Tokens {
        Tokens::new(store.clone(), self.clock.clone(), &config("")).await.unwrap()
    }
}

fn config(keys: &str) -> config::Stream {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("waypost.toml");
    std::fs::write(&path, format!("[stream]\ntoken_secrets = [\"{SECRET}\"]\n{keys}")).unwrap();
    let mut inputs = config::Inputs::of(config::Env::fixed([]));
    inputs.config_path = Some(path);
    config::load(&inputs).unwrap().config.stream
}

fn signed(header: &Header, claims: &Value) -> String {
    jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

fn foreign(claims: &Value) -> String {
    signed(&Header::default(), claims)
}

fn wanted(ttl_s: u64) -> Wanted {
    let scope = Scope { numbers: Some(vec!["11".into()]), content: false, ..Scope::default() };
    Wanted { signing: Signing::Hs256, ttl: Duration::from_secs(ttl_s), scope, note: None }
}

fn in_seconds(after_noon: i64) -> i64 {
    NOON.0 / 1_000 + after_noon
}

#[tokio::test]
async fn what_is_issued_is_believed_for_its_time_and_scope_also_after_a_restart() {
    let house = House::new();
    let store = house.store();
    let tokens = house.tokens(&store).await;
    for signing in [Signing::Hs256, Signing::EdDsa] {
        let issued = tokens.issue(Wanted { signing, ..wanted(60) }, "uid 0").await.unwrap();
        let grant = tokens.verify(&issued.token).unwrap();
        assert_eq!((&grant.id, grant.expires_at), (&issued.id, NOON.plus(Duration::from_secs(60))));
        assert_eq!(grant.scope, wanted(60).scope);
        let again = house.tokens(&store).await;
        assert_eq!(again.verify(&issued.token).unwrap().scope, grant.scope);
    }
    let issued = tokens.issue(wanted(60), "uid 0").await.unwrap();
    house.clock.advance(Duration::from_secs(59));
    tokens.verify(&issued.token).unwrap();
    house.clock.advance(Duration::from_secs(1));
    assert_eq!(tokens.verify(&issued.token).unwrap_err(), TokenError::Expired);
    store.close().await;
}

#[tokio::test]
async fn a_token_is_refused_with_its_reason() {
    let house = House::new();
    let store = house.store();
    let tokens = house.tokens(&store).await;
    let good = json!({ "aud": "waypost", "exp": in_seconds(60) });
    tokens.verify(&foreign(&good)).unwrap();
    let with = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        tokens.verify(&foreign(&claims)).err()
    };
    assert_eq!(with("exp", json!(in_seconds(0))), Some(TokenError::Expired));
    assert_eq!(with("exp", json!(f64::from(1 << 30))), Some(TokenError::Expired));
    for aud in [json!("other"), json!(null), json!(["other", "another"]), json!([])] {
        assert_eq!(with("aud", aud), Some(TokenError::WrongAudience));
    }
    assert_eq!(with("aud", json!(["other", "waypost"])), None);
    for key in ["nbf", "iat"] {
        assert_eq!(with(key, json!(in_seconds(31))), Some(TokenError::NotYet));
        assert_eq!(with(key, json!(in_seconds(29))), None, "clocks differ a little");
    }
    // Neither without an end nor with one that is no time.
    for exp in [json!(null), json!("tomorrow"), json!(-1), json!(1e300), json!([1])] {
        assert_eq!(with("exp", exp), Some(TokenError::Malformed));
    }
    // A restriction that is not understood must not be none.
    for scope in [
        json!("openid profile"),
        json!(null),
        json!([]),
        json!([["acme"]]),
        json!({ "tenants": ["a"] }),
        json!({ "numbers": null }),
        json!({ "content": "no" }),
        json!({ "sources": 5 }),
    ] {
        assert_eq!(with("scope", scope.clone()), Some(TokenError::Malformed), "{scope}");
    }
    assert_eq!(with("scope", json!({ "numbers": "11", "content": false })), None);

    let other = EncodingKey::from_secret(b"another secret, which nobody here was told anything of");
    let forged = jsonwebtoken::encode(&Header::default(), &good, &other).unwrap();
    let cut = foreign(&good);
    let none = {
        let parts: Vec<&str> = cut.split('.').collect();
        // {"alg":"none"} in base 64 for addresses.
        format!("eyJhbGciOiJub25lIn0.{}.", parts[1])
    };
    let critical = signed(&Header { crit: Some(vec!["x".into()]), ..Header::default() }, &good);
    let longer = signed(&Header::new(Algorithm::HS512), &good);
    for token in
        [&*forged, &cut[..cut.len() - 2], "", "a.b.c", "..", &none, &critical, &longer, &"x".repeat(9_000)]
    {
        assert_eq!(tokens.verify(token).unwrap_err(), TokenError::Forged, "{token:.80}");
    }
    store.close().await;
}

#[tokio::test]
async fn a_key_pairs_public_half_is_no_secret_that_signs() {
    let house = House::new();
    let store = house.store();
    let tokens = house.tokens(&store).await;
    let issued = tokens.issue(Wanted { signing: Signing::EdDsa, ..wanted(60) }, "uid 0").await.unwrap();
    let header = jsonwebtoken::decode_header(&issued.token).unwrap();
    let state = tokens.state.load();
    let public = state.keys[0].decoding().try_get_as_bytes().unwrap();
    let claims = json!({ "aud": "waypost", "exp": in_seconds(60) });
    let header = Header { kid: header.kid, ..Header::default() };
    let forged = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(public)).unwrap();
    assert_eq!(tokens.verify(&forged).unwrap_err(), TokenError::Forged);
    store.close().await;
}

#[tokio::test]
async fn what_is_revoked_is_refused_at_once_and_stays_so() {
    let house = House::new();
    let store = house.store();
    let tokens = house.tokens(&store).await;
    let mut changes = tokens.changes();
    let by_id = tokens.issue(wanted(60), "uid 0").await.unwrap();
    let by_itself = tokens.issue(wanted(60), "uid 0").await.unwrap();
    let grant = tokens.verify(&by_id.token).unwrap();
    changes.mark_unchanged();
    assert_eq!(tokens.revoke(&by_id.id, "uid 0").await.unwrap(), (by_id.id.clone(), true));
    assert!(changes.has_changed().unwrap() && tokens.is_revoked(&grant));
    assert_eq!(tokens.revoke(&by_itself.token, "uid 0").await.unwrap(), (by_itself.id.clone(), true));
    // Others' tokens, with an id and without.
    let named = foreign(&json!({ "aud": "waypost", "exp": in_seconds(60), "jti": "theirs-1" }));
    let unnamed = foreign(&json!({ "aud": "waypost", "exp": in_seconds(60) }));
    assert_eq!(tokens.revoke("theirs-1", "uid 0").await.unwrap(), ("theirs-1".into(), false));
    assert!(!tokens.revoke(&unnamed, "uid 0").await.unwrap().1);
    assert!(matches!(tokens.revoke("a.b.c", "uid 0").await, Err(IssueError::Token(TokenError::Forged))));
    let again = house.tokens(&store).await;
    for token in [&by_id.token, &by_itself.token, &named, &unnamed] {
        assert_eq!(tokens.verify(token).unwrap_err(), TokenError::Revoked);
        assert_eq!(again.verify(token).unwrap_err(), TokenError::Revoked);
    }
    // Neither list nor store holds a token.
    let entries = store.entries(EntryKind::Token).await.unwrap();
    assert_eq!((entries.len(), tokens.list().0.len()), (4, 4));
    for entry in entries {
        for token in [&by_id.token, &by_itself.token, &named, &unnamed] {
            assert!(!entry.settings.contains(token.split('.').nth(2).unwrap()));
        }
    }
    store.close().await;
}

#[tokio::test]
async fn keys_change_with_an_overlap_and_go_with_their_last_token() {
    let house = House::new();
    let store = house.store();
    let tokens = house.tokens(&store).await;
    assert!(tokens.rotate().await.unwrap().is_empty(), "there is nothing to change yet");
    let former = tokens.issue(wanted(60), "uid 0").await.unwrap();
    assert_eq!(tokens.rotate().await.unwrap().len(), 1);
    let newer = tokens.issue(wanted(120), "uid 0").await.unwrap();
    let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid;
    assert_ne!(kid(&former.token), kid(&newer.token));
    let again = house.tokens(&store).await;
    for tokens in [&tokens, &again] {
        tokens.verify(&former.token).unwrap();
        tokens.verify(&newer.token).unwrap();
    }
    assert_eq!(tokens.list().1.len(), 2);
    house.clock.advance(Duration::from_secs(61));
    tokens.issue(wanted(60), "uid 0").await.unwrap();
    let (on_record, keys) = tokens.list();
    assert_eq!((on_record.len(), keys.len()), (2, 1));
    assert_eq!(store.entries(EntryKind::TokenKey).await.unwrap().len(), 1);
    assert_eq!(tokens.verify(&former.token).unwrap_err(), TokenError::Forged);
    tokens.verify(&newer.token).unwrap();
    store.close().await;
}

#[tokio::test]
async fn another_configuration_is_in_force_at_once() {
    let house = House::new();
    let store = house.store();
    let tokens = house.tokens(&store).await;
    let token = foreign(&json!({ "aud": "inbox", "exp": in_seconds(60) }));
    assert_eq!(tokens.verify(&token).unwrap_err(), TokenError::WrongAudience);
    tokens.configure(&config("audience = \"inbox\"")).await;
    let grant = tokens.verify(&token).unwrap();
    assert!(!tokens.is_revoked(&grant));
    let without = config::Stream { token_secrets: Vec::new(), ..config("audience = \"inbox\"") };
    tokens.configure(&without).await;
    assert_eq!(tokens.verify(&token).unwrap_err(), TokenError::Forged);
    assert!(tokens.is_revoked(&grant), "with a key that leaked nobody goes on");
    store.close().await;
}
