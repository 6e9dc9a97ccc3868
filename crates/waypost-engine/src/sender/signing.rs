//! Signature translation: what a receiver is to find proved, and by which secret.
//!
//! **The promise:** a body that leaves with an `X-Hub-Signature-256` is one that this signature is of, or came with it. What
//! Meta signed and is not sent as such stays readable in `Waypost-Original-Signature-256`.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::{Entry, HeaderMap, HeaderName, HeaderValue};
use waypost_whatsapp::{AppSecret, AppSecrets, sign};

use super::Parcel;
use crate::bodies::Content;

const SHA256: HeaderName = HeaderName::from_static("x-hub-signature-256");
const SHA1: HeaderName = HeaderName::from_static("x-hub-signature");
const ORIGINAL: HeaderName = HeaderName::from_static("waypost-original-signature-256");

/// Which signature goes along with a delivery.
#[derive(Clone, Debug)]
pub enum Signing {
    /// The one that came.
    AsReceived,
    /// The one that came, or for a piece, one under the secret of its source that the request came signed with: a
    /// receiver finds everything signed as Meta does at the time. Where that is gone, the newest.
    Source,
    /// One under this secret. A body that came with the very same goes as it came.
    With(AppSecret),
    /// None.
    Nothing,
}

/// The app secrets of each source that has any, the newest first. Cheap to clone; all clones are the same keyring.
#[derive(Clone, Default, Debug)]
pub struct Keyring(Arc<ArcSwap<HashMap<Arc<str>, AppSecrets>>>);

impl Keyring {
    /// Takes over the secrets of all sources, by name.
    pub fn set(&self, secrets: HashMap<Arc<str>, AppSecrets>) {
        self.0.store(Arc::new(secrets));
    }

    /// A source's newest secret.
    pub fn newest(&self, source: &str) -> Option<AppSecret> {
        self.0.load().get(source)?.iter().next().cloned()
    }

    /// What the request came signed with that a piece is of.
    fn signer(&self, of: &Content) -> Option<AppSecret> {
        of.signer(self.0.load().get(&of.request().source)?)
    }
}

impl Signing {
    /// Whether a piece from this source would go signed.
    pub fn signs(&self, source: &str, keyring: &Keyring) -> bool {
        self.secret(source, keyring).is_some()
    }

    /// Gives the headers the signature that is to go with the parcel, in place of the one that came.
    pub(super) fn apply(&self, headers: &mut HeaderMap, parcel: &Parcel, keyring: &Keyring) {
        if parcel.piece_of.is_none() && matches!(self, Self::AsReceived | Self::Source) {
            return;
        }
        let signer = match (self, &parcel.piece_of) {
            (Self::Source, Some(of)) => keyring.signer(of),
            _ => None,
        };
        let secret = signer.or_else(|| self.secret(&parcel.content.source, keyring));
        let made = secret.map(|secret| sign(&secret, &parcel.content.body));
        if let Some(made) = &made {
            let mut came = headers.get_all(SHA256).iter();
            if came.next().is_some_and(|came| came == made.sha256.as_str()) && came.next().is_none() {
                return;
            }
        }
        let came: Vec<HeaderValue> = headers.get_all(SHA256).iter().cloned().collect();
        for came in came {
            headers.append(ORIGINAL, came);
        }
        let (sha256, sha1) = made.map(|made| (made.sha256, made.sha1)).unzip();
        put(headers, SHA256, sha256);
        put(headers, SHA1, sha1);
    }

    /// What is signed with, where nothing came that tells.
    pub(super) fn secret(&self, source: &str, keyring: &Keyring) -> Option<AppSecret> {
        match self {
            Self::Source => keyring.newest(source),
            Self::With(secret) => Some(secret.clone()),
            Self::AsReceived | Self::Nothing => None,
        }
    }
}

/// Sets a line where it stands, or takes it out.
fn put(headers: &mut HeaderMap, name: HeaderName, value: Option<String>) {
    match (value.map(HeaderValue::try_from), headers.entry(name)) {
        (Some(Ok(value)), Entry::Occupied(mut line)) => {
            line.insert(value);
        }
        (Some(Ok(value)), Entry::Vacant(line)) => {
            line.insert(value);
        }
        (_, Entry::Occupied(line)) => {
            line.remove_entry_mult();
        }
        (_, Entry::Vacant(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use waypost_domain::{DeliveryId, HeaderBlock, RequestId};
    use waypost_store::RequestBody;
    use waypost_whatsapp::AppSecrets;

    fn secret(text: &str) -> AppSecret {
        AppSecret::new(text, text).unwrap()
    }

    fn with(text: &str) -> Signing {
        Signing::With(secret(text))
    }

    fn keyring() -> Keyring {
        let keyring = Keyring::default();
        keyring.set(HashMap::from([(
            "acme".into(),
            AppSecrets::new(vec![secret("acme's"), secret("an older one")]).unwrap(),
        )]));
        keyring
    }

    fn parcel(source: &str, body: &'static str, is_piece: bool) -> Parcel {
        parcel_by("acme's", source, body, is_piece)
    }

    fn parcel_by(came_by: &str, source: &str, body: &'static str, is_piece: bool) -> Parcel {
        let mut headers = HeaderBlock::new();
        headers.push("x-hub-signature-256", sign(&secret(came_by), b"the request").sha256.as_bytes());
        let of = RequestBody {
            source: source.into(),
            target: "/".to_owned(),
            headers,
            body: Bytes::from_static(b"the request"),
        };
        let content = RequestBody {
            source: source.into(),
            target: "/".to_owned(),
            headers: HeaderBlock::new(),
            body: Bytes::from_static(body.as_bytes()),
        };
        Parcel {
            delivery: DeliveryId(9),
            request: RequestId(1),
            event: RequestId(1).event(0),
            attempt: 1,
            content: Arc::new(content),
            piece_of: is_piece.then(|| Arc::new(Content::new(of, true))),
            field: None,
        }
    }

    fn received(by: &str, body: &str) -> HeaderMap {
        let made = sign(&secret(by), body.as_bytes());
        let mut headers = HeaderMap::new();
        headers.insert(SHA1, made.sha1.parse().unwrap());
        headers.insert("content-type", "application/json".parse().unwrap());
        headers.insert(SHA256, made.sha256.parse().unwrap());
        headers
    }

    fn verifies(headers: &HeaderMap, by: &str, body: &str) -> bool {
        let lines = headers.get_all(SHA256).iter().map(HeaderValue::as_bytes);
        let legacy: Vec<_> = headers.get_all(SHA1).iter().collect();
        AppSecrets::from(secret(by)).verify(lines, body.as_bytes()).is_ok()
            && legacy == [sign(&secret(by), body.as_bytes()).sha1.as_str()]
    }

    #[test]
    fn what_goes_as_it_came_keeps_its_headers_untouched() {
        let headers = received("acme's", "whole");
        for signing in [Signing::AsReceived, Signing::Source, with("acme's")] {
            let mut sent = headers.clone();
            signing.apply(&mut sent, &parcel("acme", "whole", false), &keyring());
            assert_eq!(sent, headers, "{signing:?}");
        }
    }

    #[test]
    fn another_secret_makes_a_signature_of_its_own_and_the_original_stays_readable() {
        for is_piece in [false, true] {
            let mut sent = received("acme's", "the request");
            let original = sent[SHA256].clone();
            with("shop's").apply(&mut sent, &parcel("acme", "sent", is_piece), &keyring());
            assert!(verifies(&sent, "shop's", "sent"));
            assert_eq!(sent.get_all(ORIGINAL).iter().collect::<Vec<_>>(), [&original]);
        }
    }

    #[test]
    fn a_piece_is_signed_with_the_secret_its_request_came_with_or_the_newest_where_that_is_gone() {
        for (came_by, signed_by) in
            [("acme's", "acme's"), ("an older one", "an older one"), ("one that is gone", "acme's")]
        {
            let mut sent = received(came_by, "the request");
            Signing::Source.apply(&mut sent, &parcel_by(came_by, "acme", "piece", true), &keyring());
            assert!(verifies(&sent, signed_by, "piece"), "{came_by}");
            assert!(sent.contains_key(ORIGINAL));
        }
    }

    #[test]
    fn without_a_secret_nothing_passes_for_a_signature() {
        let none = [
            (Signing::Nothing, "acme", false),
            (Signing::Nothing, "acme", true),
            (Signing::Source, "other", true),
            (Signing::AsReceived, "acme", true),
        ];
        for (signing, source, is_piece) in none {
            let mut sent = received("acme's", "the request");
            signing.apply(&mut sent, &parcel(source, "sent", is_piece), &keyring());
            assert!(!sent.contains_key(SHA256) && !sent.contains_key(SHA1), "{signing:?}");
            assert!(sent.contains_key(ORIGINAL), "{signing:?}");
        }
    }

    #[test]
    fn several_signatures_that_came_unproved_never_go_on_beside_ours() {
        let mut sent = received("acme's", "whole");
        sent.append(SHA256, "sha256=00".parse().unwrap());
        with("acme's").apply(&mut sent, &parcel("acme", "whole", false), &keyring());
        assert!(verifies(&sent, "acme's", "whole"));
        assert_eq!(sent.get_all(ORIGINAL).iter().count(), 2);
    }
}
