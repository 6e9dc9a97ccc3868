//! What happens to messages and conversations: statuses, calls, groups, handovers, history.

use std::borrow::Cow;

use serde::Serialize;

use super::bare::StatusState;
use super::message::{Message, Problem, problems};
use super::person::PersonView;
use super::reading::{Fragment, LIST_MAX, Number, Object};
use crate::status;

/// What became of a message the business sent.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct StatusReport<'a> {
    /// The message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<Cow<'a, str>>,
    /// Meta's word: `sent`, `delivered`, `read`, `played`, `failed`, or a newer one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Cow<'a, str>>,
    /// What has become of the message, this status taken in. Absent where nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StatusState>,
    /// In groups, at whom: the id that tells participants apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant: Option<Cow<'a, str>>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Problem<'a>>,
    /// What it costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pricing: Option<Pricing<'a>>,
    /// Meta's id of the conversation that is charged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<Cow<'a, str>>,
    /// What that conversation is about, such as `utility`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_origin: Option<Cow<'a, str>>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_expires_at: Option<String>,
    /// What the sender attached to the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback_data: Option<Cow<'a, str>>,
}

/// What a message costs.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Pricing<'a> {
    /// Whether it is charged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billable: Option<bool>,
    /// `PMP` or `CBP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Cow<'a, str>>,
    /// `regular`, or why it is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<Cow<'a, str>>,
    /// Such as `marketing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<Cow<'a, str>>,
}

/// Something about a call.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Call<'a> {
    /// Meta's id of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<Cow<'a, str>>,
    /// Meta's word for what happened: `connect`, `terminate` and others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Cow<'a, str>>,
    /// How it ended, or, of a call by the business, how it fares: `RINGING`, `ACCEPTED`, `REJECTED`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Cow<'a, str>>,
    /// Who called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Cow<'a, str>>,
    /// Who was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Cow<'a, str>>,
    /// `offer` or `answer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdp_type: Option<Cow<'a, str>>,
    /// The session's description (RFC 8866).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdp: Option<Cow<'a, str>>,
    /// When it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// How long it lasted, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<Number<'a>>,
    /// What the business attached to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback_data: Option<Cow<'a, str>>,
    /// What went wrong with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Problem<'a>>,
    /// All that Meta wrote, where the event is not `connect`, `terminate` or a status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Fragment<'a>>,
}

/// Control of a conversation was passed or taken.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Handover<'a> {
    /// `control_passed` or `control_taken`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Cow<'a, str>>,
    /// Who had control.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_owner_role: Option<Cow<'a, str>>,
    /// Who has it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_owner_role: Option<Cow<'a, str>>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Cow<'a, str>>,
    /// What the conversation was about until now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_context: Option<Fragment<'a>>,
}

/// A lead or purchase that Meta detected in a conversation.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Detection<'a> {
    /// `LeadSubmitted` or `Purchase`, in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Cow<'a, str>>,
    /// The message it was detected in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<Cow<'a, str>>,
    /// Meta's id of the click on the ad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctwa_clid: Option<Cow<'a, str>>,
    /// The currency of a purchase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<Cow<'a, str>>,
    /// Its value, in thousandths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Number<'a>>,
}

/// A tick of marketing delivery tracking.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Tick<'a> {
    /// Meta's word for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Cow<'a, str>>,
    /// What is tracked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Fragment<'a>>,
}

/// A group was created, changed, joined, left or suspended.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct GroupChange<'a> {
    /// Meta's word for it, such as `group_create`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Cow<'a, str>>,
    /// The request of the business that brought it about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Cow<'a, str>>,
    /// What the group is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Cow<'a, str>>,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Cow<'a, str>>,
    /// The link that invites to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invite_link: Option<Cow<'a, str>>,
    /// `auto_approve`, or whether joining must be approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_approval_mode: Option<Cow<'a, str>>,
    /// Who brought it about: `business` or `participant`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiated_by: Option<Cow<'a, str>>,
    /// Who joined or left, or asked to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub participants: Vec<PersonView<'a>>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Problem<'a>>,
    /// All that Meta wrote.
    pub details: Fragment<'a>,
}

/// A piece of a number's chat history.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct HistoryChunk<'a> {
    /// 0 for the last day, 1 up to 90 days, 2 up to 180 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Number<'a>>,
    /// Its place in the phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_order: Option<Number<'a>>,
    /// How much of the history has come, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Number<'a>>,
    /// The conversations in it.
    pub threads: Vec<HistoryThread<'a>>,
    /// Whether there are more messages than are listed; the fragment has all.
    pub is_partial: bool,
    /// Why there is none: sharing was declined.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Problem<'a>>,
}

/// A conversation in a chunk of history.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct HistoryThread<'a> {
    /// With whom: a phone number or a user id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Cow<'a, str>>,
    /// The messages.
    pub messages: Vec<HistoryMessage<'a>>,
}

/// A message of a chunk of history.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct HistoryMessage<'a> {
    /// Who wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Cow<'a, str>>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<String>,
    /// The message.
    pub message: Message<'a>,
}

impl<'a> StatusReport<'a> {
    pub(super) fn of(report: &Object<'a>) -> Self {
        let conversation = report.object("conversation");
        let conversation = conversation.as_ref();
        let origin = conversation.and_then(|conversation| conversation.object("origin"));
        let pricing = report.object("pricing").map(|pricing| Pricing {
            billable: pricing.flag("billable"),
            model: pricing.id("pricing_model"),
            r#type: pricing.id("type"),
            category: pricing.id("category"),
        });
        Self {
            message_id: report.id("id"),
            status: report.id("status"),
            state: None,
            participant: status::participant(report.members()),
            errors: problems(report),
            pricing,
            conversation_id: conversation.and_then(|conversation| conversation.id("id")),
            conversation_origin: origin.and_then(|origin| origin.id("type")),
            conversation_expires_at: conversation.and_then(|it| it.time("expiration_timestamp")),
            callback_data: report.text("biz_opaque_callback_data"),
        }
    }
}

impl<'a> Call<'a> {
    /// A call's event or status; `details` where the event is not one of those known.
    pub(super) fn of(call: &Object<'a>, details: Option<Fragment<'a>>) -> Self {
        let session = call.object("session");
        let session = session.as_ref();
        Self {
            call_id: call.id("id"),
            event: call.id("event"),
            status: call.id("status"),
            from: call.id("from"),
            to: call.id("to"),
            sdp_type: session.and_then(|session| session.id("sdp_type")),
            sdp: session.and_then(|session| session.text("sdp")),
            started_at: call.time("start_time"),
            ended_at: call.time("end_time"),
            duration_s: call.number("duration"),
            callback_data: call.text("biz_opaque_callback_data"),
            errors: problems(call),
            details,
        }
    }
}

impl<'a> Handover<'a> {
    pub(super) fn of(handover: &Object<'a>) -> Self {
        let change = handover.id("type");
        let inner = change.as_deref().and_then(|change| handover.object(change));
        let inner = inner.as_ref();
        Self {
            previous_owner_role: inner.and_then(|inner| inner.id("previous_owner_role")),
            new_owner_role: inner.and_then(|inner| inner.id("new_owner_role")),
            metadata: inner.and_then(|inner| inner.text("metadata")),
            conversation_context: inner.and_then(|inner| inner.fragment("conversation_context")),
            change,
        }
    }
}

impl<'a> Detection<'a> {
    pub(super) fn of(detection: &Object<'a>) -> Self {
        let data = detection.object("custom_data");
        let data = data.as_ref();
        Self {
            event: detection.id("event_name"),
            message_id: detection.id("id"),
            ctwa_clid: detection.text("ctwa_clid"),
            currency: data.and_then(|data| data.id("currency")),
            value: data.and_then(|data| data.number("value")),
        }
    }
}

impl<'a> Tick<'a> {
    pub(super) fn of(tick: &Object<'a>) -> Self {
        Self { event: tick.id("event_name"), details: tick.fragment("tracking_data") }
    }
}

impl<'a> GroupChange<'a> {
    pub(super) fn of(group: &Object<'a>, details: Fragment<'a>) -> Self {
        let set = |member: &str| group.object(member).and_then(|setting| setting.text("text"));
        let mut participants = Vec::new();
        for (name, _) in group.members().iter() {
            if name.ends_with("participants") || name == "join_requests" {
                participants.extend(group.list(name, |person| {
                    let person = Object::of(person);
                    let mut view = PersonView::of(&person, "parent_user_id", "user_id", "wa_id");
                    view.wa_id = view.wa_id.or_else(|| person.id("input"));
                    view
                }));
            }
            if participants.len() >= LIST_MAX {
                break;
            }
        }
        Self {
            change: group.id("type"),
            request_id: group.id("request_id"),
            subject: group.text("subject").or_else(|| set("group_subject")),
            description: group.text("description").or_else(|| set("group_description")),
            invite_link: group.text("invite_link"),
            join_approval_mode: group.id("join_approval_mode"),
            initiated_by: group.id("initiated_by"),
            participants,
            errors: problems(group),
            details,
        }
    }
}

impl<'a> HistoryChunk<'a> {
    pub(super) fn of(chunk: &Object<'a>) -> Self {
        let metadata = chunk.object("metadata");
        let number = |member: &str| metadata.as_ref().and_then(|metadata| metadata.number(member));
        let mut left = LIST_MAX;
        let mut is_partial = false;
        let threads = chunk.list("threads", |thread| {
            let thread = Object::of(thread);
            let messages = thread.list("messages", |message| {
                is_partial |= left == 0;
                left = left.checked_sub(1)?;
                let message = Object::of(message);
                Some(HistoryMessage {
                    from: message.id("from").or_else(|| message.id("from_user_id")),
                    occurred_at: message.time("timestamp"),
                    message: Message::of(&message, None),
                })
            });
            HistoryThread { id: thread.id("id"), messages: messages.into_iter().flatten().collect() }
        });
        is_partial |= threads.len() == LIST_MAX;
        Self {
            phase: number("phase"),
            chunk_order: number("chunk_order"),
            progress: number("progress"),
            threads,
            is_partial,
            errors: problems(chunk),
        }
    }
}
