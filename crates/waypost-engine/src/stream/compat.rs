//! Other products' words: frames as a client written for Whatomate expects them.
//!
//! Two dialects: the one that its documentation shows (`message:new`, `message:status`, `contact:new`,
//! `contact:updated`) and the one that its code speaks (`new_message`, `status_update`, `reaction_update`,
//! `contact_update`, `call_incoming`, `call_ended`). Where the documentation shows no payload, the names of its other
//! interfaces are used. What has no word in a dialect gives no frame in it.
//!
//! Its clients take each status for the message's new state. So a status that did not move the state forward gives
//! no frame, and `played`, which they do not know, is not told.
//!
//! Ids are UUIDs made from ours, always the same for the same thing: version 8 (RFC 9562, section 5.8), the first 128
//! bits of the SHA-256 of `message`, the source and the message id, or of `contact`, the source and the conversation,
//! or of `call`, the source and the call id, with a line feed between them.

use std::borrow::Cow;
use std::fmt::Write as _;

use aws_lc_rs::digest;
use serde_json::{Value, json};
use waypost_whatsapp::normal::{
    Call, Content, Data, Direction, Media, Message, NormalEvent, Problem, Reaction, Told,
};

use super::view::Dialect;

/// The type and payload of an event in a dialect; `None` where it has no word for it. `word` is Meta's own for the event.
pub(super) fn payload(
    dialect: Dialect,
    event: &NormalEvent<'_>,
    word: &str,
) -> Option<(&'static str, Value)> {
    let telling = Telling { event, word, is_documented: dialect == Dialect::WhatomateDocs };
    match event.data.event_type() {
        "message:new" | "message:echo" => telling.message(),
        "message:status" => telling.status(),
        "message:reaction" => telling.reaction(),
        "contact:new" | "contact:updated" => telling.contact(),
        "call:connect" | "call:terminate" => telling.call(),
        _ => None,
    }
}

struct Telling<'t, 'e> {
    event: &'t NormalEvent<'e>,
    word: &'t str,
    is_documented: bool,
}

impl Telling<'_, '_> {
    fn word_of(&self, documented: &'static str, coded: &'static str) -> &'static str {
        if self.is_documented { documented } else { coded }
    }

    fn message(&self) -> Option<(&'static str, Value)> {
        let message = match &self.event.data {
            Told::Data(Data::MessageNew(message) | Data::MessageEcho(message)) => Some(message),
            _ => None,
        };
        let wamid = self.wamid(message.and_then(|message| message.id.as_deref()))?;
        let direction = match self.event.direction {
            Some(Direction::Outbound) => "outgoing",
            _ => "incoming",
        };
        let (text, media) = message.map_or((None, None), |message| said(&message.content));
        let r#type = if self.word.is_empty() { "unknown" } else { self.word };
        let id = self.message_id(&wamid);
        if self.is_documented {
            let mut content = json!({ "text": text.unwrap_or_default() });
            if let Some(media) = media {
                content["media_id"] = json!(media.media_id);
                content["mime_type"] = json!(media.mime_type);
                content["filename"] = json!(media.filename);
            }
            let payload = json!({
                "id": id,
                "contact_id": self.contact_id(),
                "direction": direction,
                "type": r#type,
                "content": content,
                "timestamp": self.time(),
                "wamid": wamid,
            });
            return Some(("message:new", payload));
        }
        let media_text =
            |member: fn(&Media<'_>) -> Option<String>| media.and_then(member).unwrap_or_default();
        let mut payload = json!({
            "id": id,
            "contact_id": self.contact_id(),
            "assigned_user_id": null,
            "profile_name": self.name(),
            "direction": direction,
            "message_type": r#type,
            "content": { "body": text.unwrap_or_default() },
            "media_url": media_text(|media| media.url.as_deref().map(str::to_owned)),
            "media_mime_type": media_text(|media| media.mime_type.as_deref().map(str::to_owned)),
            "media_filename": media_text(|media| media.filename.as_deref().map(str::to_owned)),
            "interactive_data": null,
            "status": if direction == "incoming" { "received" } else { "sent" },
            "wamid": wamid,
            "created_at": self.time(),
            "updated_at": self.time(),
            "is_reply": false,
        });
        let answered =
            message.and_then(|message: &Message<'_>| message.context.as_ref()?.message_id.as_deref());
        if let Some(answered) = answered {
            payload["is_reply"] = json!(true);
            payload["reply_to_message_id"] = json!(self.message_id(answered));
        }
        Some(("new_message", payload))
    }

    fn status(&self) -> Option<(&'static str, Value)> {
        let (wamid, status, state, errors) = match &self.event.data {
            Told::Data(Data::MessageStatus(report)) => (
                report.message_id.as_deref(),
                report.status.as_deref(),
                report.state.as_ref(),
                report.errors.as_slice(),
            ),
            _ => {
                let summary = self.event.summary.as_ref();
                (None, Some(self.word), summary.and_then(|summary| summary.state.as_ref()), &[][..])
            }
        };
        let wamid = self.wamid(wamid)?;
        let status = status.filter(|status| ["sent", "delivered", "read", "failed"].contains(status))?;
        if state.is_some_and(|state| !state.changed) {
            return None;
        }
        let mut payload = json!({
            "message_id": self.message_id(&wamid),
            "contact_id": self.contact_id(),
            "status": status,
            "wamid": wamid,
        });
        if status == "failed" {
            let said = errors.first().and_then(|error: &Problem<'_>| {
                [&error.details, &error.message, &error.title].into_iter().flatten().next()
            });
            payload["error_message"] = json!(said.map_or("", |said| said));
        }
        if self.is_documented {
            payload["timestamp"] = json!(self.time());
        }
        Some((self.word_of("message:status", "status_update"), payload))
    }

    fn reaction(&self) -> Option<(&'static str, Value)> {
        let Told::Data(Data::MessageReaction(Reaction { message_id, emoji, .. })) = &self.event.data else {
            return None;
        };
        if self.is_documented {
            return None;
        }
        let reactions = match emoji {
            Some(emoji) => json!([{ "emoji": emoji, "user": self.phone() }]),
            None => json!([]),
        };
        let payload = json!({
            "message_id": self.message_id(message_id.as_deref()?),
            "contact_id": self.contact_id(),
            "reactions": reactions,
        });
        Some(("reaction_update", payload))
    }

    fn contact(&self) -> Option<(&'static str, Value)> {
        self.event.conversation.as_ref()?;
        let word = match self.event.data.event_type() {
            "contact:new" => self.word_of("contact:new", "contact_update"),
            _ => self.word_of("contact:updated", "contact_update"),
        };
        let payload = json!({
            "id": self.contact_id(),
            "contact_id": self.contact_id(),
            "contact_phone": self.phone(),
            "contact_name": self.name(),
            "whatsapp_account": self.event.source,
        });
        Some((word, payload))
    }

    fn call(&self) -> Option<(&'static str, Value)> {
        let (call, has_ended): (&Call<'_>, bool) = match &self.event.data {
            Told::Data(Data::CallConnect(call)) => (call, false),
            Told::Data(Data::CallTerminate(call)) => (call, true),
            _ => return None,
        };
        let call_id = call.call_id.as_deref().filter(|_| !self.is_documented)?;
        let id = uuid(&["call", &self.event.source, call_id]);
        if has_ended {
            let seconds = call.duration_s.and_then(|seconds| seconds.as_str().parse::<u64>().ok());
            let ended_at = call.ended_at.clone().or_else(|| self.time().map(str::to_owned));
            let payload = json!({
                "id": id,
                "whatsapp_call_id": call_id,
                "duration_seconds": seconds.unwrap_or(0),
                "ended_at": ended_at,
            });
            return Some(("call_ended", payload));
        }
        if self.event.direction != Some(Direction::Inbound) {
            return None;
        }
        let payload = json!({
            "id": id,
            "whatsapp_call_id": call_id,
            "contact_id": self.contact_id(),
            "contact_phone": self.phone(),
            "whatsapp_account": self.event.source,
            "direction": "incoming",
            "started_at": self.time(),
        });
        Some(("call_incoming", payload))
    }

    /// The message id that the event says, or its record.
    fn wamid(&self, said: Option<&str>) -> Option<String> {
        let of_record = || self.event.summary.as_ref().and_then(|summary| summary.message_id.as_deref());
        said.or_else(of_record).map(str::to_owned)
    }

    fn message_id(&self, wamid: &str) -> String {
        uuid(&["message", &self.event.source, wamid])
    }

    fn contact_id(&self) -> Option<String> {
        let conversation = self.event.conversation.as_deref()?;
        Some(uuid(&["contact", &self.event.source, conversation]))
    }

    fn name(&self) -> &str {
        self.event.contact.as_ref().and_then(|contact| contact.name.as_deref()).unwrap_or_default()
    }

    /// The person's phone number with a plus, or else the id they are known by.
    fn phone(&self) -> Cow<'_, str> {
        let Some(contact) = &self.event.contact else { return Cow::Borrowed("") };
        match &contact.wa_id {
            Some(phone) => Cow::Owned(format!("+{}", phone.trim_start_matches('+'))),
            None => Cow::Borrowed(contact.user_id.as_deref().unwrap_or_default()),
        }
    }

    /// When it happened, as far as that is known.
    fn time(&self) -> Option<&str> {
        self.event.occurred_at.as_deref().or(self.event.received_at.as_deref())
    }
}

/// What a message says in words, and the file that came with it.
fn said<'c>(content: &'c Content<'_>) -> (Option<&'c str>, Option<&'c Media<'c>>) {
    match content {
        Content::Text { body } => (body.as_deref(), None),
        Content::Image(media)
        | Content::Video(media)
        | Content::Audio(media)
        | Content::Document(media)
        | Content::Sticker(media) => (media.caption.as_deref(), Some(media)),
        Content::ButtonReply { title, .. } | Content::ListReply { title, .. } => (title.as_deref(), None),
        Content::Button { text, .. } | Content::Order { text, .. } => (text.as_deref(), None),
        Content::FlowReply { body, .. } | Content::System { body, .. } => (body.as_deref(), None),
        Content::Location { name, address, .. } => (name.as_deref().or(address.as_deref()), None),
        _ => (None, None),
    }
}

/// A UUID that is always the same for the same parts.
fn uuid(parts: &[&str]) -> String {
    let hash = digest::digest(&digest::SHA256, parts.join("\n").as_bytes());
    let mut text = String::with_capacity(36);
    for (place, byte) in hash.as_ref().iter().take(16).enumerate() {
        if [4, 6, 8, 10].contains(&place) {
            text.push('-');
        }
        let byte = match place {
            6 => byte & 0x0f | 0x80,
            8 => byte & 0x3f | 0x80,
            _ => *byte,
        };
        let _ = write!(text, "{byte:02x}");
    }
    text
}
