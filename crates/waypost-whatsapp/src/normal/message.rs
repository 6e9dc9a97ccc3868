//! Messages, and what they refer to.

use std::borrow::Cow;

use serde::Serialize;

use super::content::Content;
use super::reading::{Fragment, Object};
use crate::json::Value;

/// A message, inbound or sent on the business side.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Message<'a> {
    /// Meta's id of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Cow<'a, str>>,
    /// What it holds.
    pub content: Content<'a>,
    /// What it answers or where it was forwarded from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<Context<'a>>,
    /// The ad or post that led to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referral: Option<Referral<'a>>,
    /// What went wrong with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Problem<'a>>,
    /// The sender's identity hash, where the business checks identities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Fragment<'a>>,
    /// Who made a message of the business that no person wrote, such as `created_by_1p_bot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_type: Option<Cow<'a, str>>,
    /// What became of a message of chat history, in lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_status: Option<String>,
    /// What Meta says of the conversation around it, where conversations are routed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_context: Option<Fragment<'a>>,
}

/// A reaction to a message.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Reaction<'a> {
    /// Meta's id of the reaction itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Cow<'a, str>>,
    /// The message it is to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<Cow<'a, str>>,
    /// The emoji; `null` where the reaction was taken back.
    pub emoji: Option<Cow<'a, str>>,
}

/// What a message answers, or where it was forwarded from.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Context<'a> {
    /// The message it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<Cow<'a, str>>,
    /// Who wrote that one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Cow<'a, str>>,
    /// Whether it was forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<bool>,
    /// Whether it was forwarded many times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequently_forwarded: Option<bool>,
    /// The catalogue of the product it asks about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalog_id: Option<Cow<'a, str>>,
    /// The product it asks about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product_id: Option<Cow<'a, str>>,
}

/// The ad or post that led to a message.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Referral<'a> {
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_url: Option<Cow<'a, str>>,
    /// Meta's id of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_id: Option<Cow<'a, str>>,
    /// `ad` or `post`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_type: Option<Cow<'a, str>>,
    /// Its headline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headline: Option<Cow<'a, str>>,
    /// Its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Cow<'a, str>>,
    /// `image` or `video`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<Cow<'a, str>>,
    /// The image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_url: Option<Cow<'a, str>>,
    /// The video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_url: Option<Cow<'a, str>>,
    /// The video's first image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thumbnail_url: Option<Cow<'a, str>>,
    /// Meta's id of the click.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctwa_clid: Option<Cow<'a, str>>,
    /// What the ad greeted with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub welcome_text: Option<Cow<'a, str>>,
    /// What the link to the chat carried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#ref: Option<Cow<'a, str>>,
}

/// An error as Meta reports it.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Problem<'a> {
    /// Meta's code, in digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Cow<'a, str>>,
    /// What it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<Cow<'a, str>>,
    /// What it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Cow<'a, str>>,
    /// What it says further.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Cow<'a, str>>,
    /// Where it is described.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub href: Option<Cow<'a, str>>,
}

impl<'a> Message<'a> {
    pub(super) fn of(message: &Object<'a>, conversation_context: Option<Fragment<'a>>) -> Self {
        let history = message.object("history_context");
        Self {
            id: message.id("id"),
            content: Content::of(message, 0),
            context: message.object("context").map(|context| Context::of(&context)),
            referral: message.object("referral").map(|referral| Referral::of(&referral)),
            errors: problems(message),
            identity: message.fragment("identity"),
            creation_type: message.id("message_creation_type"),
            history_status: history.and_then(|history| Some(history.id("status")?.to_ascii_lowercase())),
            conversation_context,
        }
    }
}

impl<'a> Reaction<'a> {
    pub(super) fn of(message: &Object<'a>) -> Self {
        let reaction = message.object("reaction");
        let reaction = reaction.as_ref();
        Self {
            id: message.id("id"),
            message_id: reaction.and_then(|reaction| reaction.id("message_id")),
            emoji: reaction.and_then(|reaction| reaction.text("emoji")),
        }
    }
}

impl<'a> Context<'a> {
    fn of(context: &Object<'a>) -> Self {
        let product = context.object("referred_product");
        let product = |member: &str| product.as_ref().and_then(|product| product.id(member));
        Self {
            message_id: context.id("id"),
            from: context.id("from"),
            forwarded: context.flag("forwarded"),
            frequently_forwarded: context.flag("frequently_forwarded"),
            catalog_id: product("catalog_id"),
            product_id: product("product_retailer_id"),
        }
    }
}

impl<'a> Referral<'a> {
    fn of(referral: &Object<'a>) -> Self {
        Self {
            source_url: referral.text("source_url"),
            source_id: referral.id("source_id"),
            source_type: referral.id("source_type"),
            headline: referral.text("headline"),
            body: referral.text("body"),
            media_type: referral.id("media_type"),
            image_url: referral.text("image_url"),
            video_url: referral.text("video_url"),
            thumbnail_url: referral.text("thumbnail_url"),
            ctwa_clid: referral.text("ctwa_clid"),
            welcome_text: referral.object("welcome_message").and_then(|welcome| welcome.text("text")),
            r#ref: referral.text("ref"),
        }
    }
}

impl<'a> Problem<'a> {
    pub(super) fn of(error: Value<'a>) -> Self {
        let error = Object::of(error);
        Self {
            code: error.id("code"),
            title: error.text("title"),
            message: error.text("message"),
            details: error.object("error_data").and_then(|data| data.text("details")),
            href: error.text("href"),
        }
    }
}

/// The errors of an element.
pub(super) fn problems<'a>(element: &Object<'a>) -> Vec<Problem<'a>> {
    element.list("errors", Problem::of)
}
