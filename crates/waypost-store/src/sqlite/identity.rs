//! The two numbers under which an event is known in the `identity` table.
//!
//! They are kept on disk and never change: half of SHA-256 each, over texts that say what they are and how
//! long they are. 127 bits together, so that nobody can craft a key that silences another scope's event.

use aws_lc_rs::digest;

use crate::NewEvent;

/// Where an event stands in the `identity` table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    /// Of the message id, or of scope and key where there is none.
    pub(super) subject: i64,
    /// Of scope and key; negative, so that it never equals an event's number.
    pub(super) key: i64,
}

impl Identity {
    pub(super) fn of(scope: &str, event: &NewEvent) -> Self {
        let (key, other_half) = halves("key", &[scope, &event.key]);
        let subject = event.wamid.as_deref().map_or(other_half, subject_of_wamid);
        Self { subject, key: key | i64::MIN }
    }
}

/// The subject under which every event of a message is found.
pub(super) fn subject_of_wamid(wamid: &str) -> i64 {
    halves("wamid", &[wamid]).0
}

fn halves(what: &str, texts: &[&str]) -> (i64, i64) {
    let mut context = digest::Context::new(&digest::SHA256);
    for text in std::iter::once(&what).chain(texts) {
        context.update(&(text.len() as u64).to_le_bytes());
        context.update(text.as_bytes());
    }
    let digest = context.finish();
    let half =
        |at: usize| digest.as_ref()[at..].first_chunk::<8>().map_or(0, |bytes| i64::from_le_bytes(*bytes));
    (half(0), half(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(key: &str, wamid: Option<&str>) -> NewEvent {
        NewEvent {
            kind: "message".into(),
            class: "message".into(),
            field: "messages".into(),
            r#type: "text".into(),
            phone_number_id: None,
            display_phone_number: None,
            waba_id: None,
            conversation: None,
            contact: None,
            wamid: wamid.map(Into::into),
            key: key.into(),
            occurred_at: None,
            once: true,
            quarantined: false,
        }
    }

    #[test]
    fn an_identity_never_changes() {
        // Kept on disk: a change here would let every repeat of the last days through.
        let known = Identity { subject: -2_629_635_468_769_555_033, key: -8_848_135_870_387_377_241 };
        let found = Identity::of("acme", &event("msg:1:wamid.A", Some("wamid.A")));
        assert_eq!((found.subject, found.key), (known.subject, known.key));
    }

    #[test]
    fn scope_and_key_do_not_run_into_each_other() {
        let of = |scope, key| Identity::of(scope, &event(key, None));
        assert_ne!(of("ab", "c"), of("a", "bc"));
        assert_ne!(of("a", "b"), of("b", "a"));
        assert_eq!(of("a", "b"), of("a", "b"));
    }

    #[test]
    fn events_of_a_message_share_a_subject_in_every_scope() {
        let message = Identity::of("a", &event("msg:1:w", Some("w")));
        let status = Identity::of("b", &event("st:1:w:read:", Some("w")));
        assert_eq!(message.subject, status.subject);
        assert_ne!(message.key, status.key);
        assert!(message.key < 0 && status.key < 0);
    }
}
