//! What a message holds, by type.

use std::borrow::Cow;

use serde::Serialize;

use super::message::Reaction;
use super::reading::{Fragment, Number, Object};
use crate::json::Value;

/// Deepest nesting of an edit in an edit. Meta's have one.
const EDITS_MAX: usize = 4;

/// What a message holds, by type.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content<'a> {
    /// Text.
    Text {
        /// What is written.
        #[serde(skip_serializing_if = "Option::is_none")]
        body: Option<Cow<'a, str>>,
    },
    /// An image.
    Image(Media<'a>),
    /// A video.
    Video(Media<'a>),
    /// Sound, or a voice note.
    Audio(Media<'a>),
    /// A file.
    Document(Media<'a>),
    /// A sticker.
    Sticker(Media<'a>),
    /// A place.
    Location {
        /// Degrees north.
        #[serde(skip_serializing_if = "Option::is_none")]
        latitude: Option<Number<'a>>,
        /// Degrees east.
        #[serde(skip_serializing_if = "Option::is_none")]
        longitude: Option<Number<'a>>,
        /// What the place is called.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<Cow<'a, str>>,
        /// Where it is.
        #[serde(skip_serializing_if = "Option::is_none")]
        address: Option<Cow<'a, str>>,
        /// A link about it.
        #[serde(skip_serializing_if = "Option::is_none")]
        url: Option<Cow<'a, str>>,
    },
    /// Contact cards.
    Contacts {
        /// The cards, as Meta wrote them.
        cards: Vec<Fragment<'a>>,
    },
    /// A reply button was pressed.
    ButtonReply {
        /// The button's id.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
        /// What is on it.
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<Cow<'a, str>>,
    },
    /// A row of a list was chosen.
    ListReply {
        /// The row's id.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
        /// What is on it.
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<Cow<'a, str>>,
        /// What is below that.
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<Cow<'a, str>>,
    },
    /// A flow or a form was sent off.
    FlowReply {
        /// `flow`, or `address_message`.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<Cow<'a, str>>,
        /// What the person sees of it.
        #[serde(skip_serializing_if = "Option::is_none")]
        body: Option<Cow<'a, str>>,
        /// The answers: JSON in a text.
        #[serde(skip_serializing_if = "Option::is_none")]
        response_json: Option<Cow<'a, str>>,
    },
    /// A request to be allowed to call was answered.
    CallPermission {
        /// `accept` or `reject`.
        #[serde(skip_serializing_if = "Option::is_none")]
        response: Option<Cow<'a, str>>,
        /// Whether it holds for good.
        #[serde(skip_serializing_if = "Option::is_none")]
        is_permanent: Option<bool>,
        /// Until when it holds.
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_at: Option<String>,
        /// What brought the answer about.
        #[serde(skip_serializing_if = "Option::is_none")]
        response_source: Option<Cow<'a, str>>,
    },
    /// An interactive message of a sort that is not known here, or without anything in it.
    Interactive {
        /// What Meta wrote.
        #[serde(skip_serializing_if = "Option::is_none")]
        details: Option<Fragment<'a>>,
    },
    /// A template's quick reply was pressed.
    Button {
        /// What the template attached to it.
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<Cow<'a, str>>,
        /// What is on it.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<Cow<'a, str>>,
    },
    /// An order from the catalogue.
    Order {
        /// The catalogue.
        #[serde(skip_serializing_if = "Option::is_none")]
        catalog_id: Option<Cow<'a, str>>,
        /// What is written beside it.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<Cow<'a, str>>,
        /// What is ordered.
        items: Vec<OrderItem<'a>>,
    },
    /// A notice by WhatsApp.
    System {
        /// What about, such as `user_changed_number`.
        #[serde(skip_serializing_if = "Option::is_none")]
        event: Option<Cow<'a, str>>,
        /// The notice.
        #[serde(skip_serializing_if = "Option::is_none")]
        body: Option<Cow<'a, str>>,
        /// The new phone number.
        #[serde(skip_serializing_if = "Option::is_none")]
        wa_id: Option<Cow<'a, str>>,
        /// The new business-scoped user id.
        #[serde(skip_serializing_if = "Option::is_none")]
        user_id: Option<Cow<'a, str>>,
        /// The new parent business-scoped user id.
        #[serde(skip_serializing_if = "Option::is_none")]
        parent_user_id: Option<Cow<'a, str>>,
    },
    /// A reaction, in places where a message of its own is none, such as in an edit.
    Reaction(Reaction<'a>),
    /// An edit, likewise.
    Edit {
        /// The message that was edited.
        #[serde(skip_serializing_if = "Option::is_none")]
        original_id: Option<Cow<'a, str>>,
        /// What it holds now.
        content: Box<Content<'a>>,
    },
    /// A deletion, likewise.
    Revoke {
        /// The message that was deleted.
        #[serde(skip_serializing_if = "Option::is_none")]
        original_id: Option<Cow<'a, str>>,
    },
    /// A message that the API does not carry; its `errors` say more.
    Unsupported {
        /// Of which type it was.
        #[serde(skip_serializing_if = "Option::is_none")]
        unsupported_type: Option<Cow<'a, str>>,
    },
    /// A chat was opened for the first time.
    RequestWelcome,
    /// Media of chat history, which follow in an event of their own.
    MediaPlaceholder,
    /// A message that had vanished.
    Ephemeral,
    /// A type that is not known here.
    Other {
        /// Meta's word for it.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<Cow<'a, str>>,
        /// The member of that name.
        #[serde(skip_serializing_if = "Option::is_none")]
        details: Option<Fragment<'a>>,
    },
}

/// A file that came with a message. It is fetched from Meta by its id.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Media<'a> {
    /// Meta's id of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_id: Option<Cow<'a, str>>,
    /// Its media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<Cow<'a, str>>,
    /// Its hash: base64, or hex in chat history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Cow<'a, str>>,
    /// Where it can be fetched with a token, for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Cow<'a, str>>,
    /// What is written below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caption: Option<Cow<'a, str>>,
    /// A document's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filename: Option<Cow<'a, str>>,
    /// Whether sound is a voice note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voice: Option<bool>,
    /// Whether a sticker moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub animated: Option<bool>,
}

/// One thing ordered.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct OrderItem<'a> {
    /// The seller's id of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product_id: Option<Cow<'a, str>>,
    /// How many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantity: Option<Number<'a>>,
    /// What one costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Number<'a>>,
    /// In which currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<Cow<'a, str>>,
}

impl<'a> Content<'a> {
    /// What a message holds, or what an edit makes of one.
    pub(super) fn of(message: &Object<'a>, edits: usize) -> Self {
        let name = message.id("type");
        let word = name.as_deref().unwrap_or_default();
        let inner = message.object(word);
        let id = |member: &str| inner.as_ref().and_then(|inner| inner.id(member));
        let text = |member: &str| inner.as_ref().and_then(|inner| inner.text(member));
        let number = |member: &str| inner.as_ref().and_then(|inner| inner.number(member));
        let media = || Media::of(inner.as_ref());
        match word {
            "text" => Self::Text { body: text("body") },
            "image" => Self::Image(media()),
            "video" => Self::Video(media()),
            "audio" => Self::Audio(media()),
            "document" => Self::Document(media()),
            "sticker" => Self::Sticker(media()),
            "location" => Self::Location {
                latitude: number("latitude"),
                longitude: number("longitude"),
                name: text("name"),
                address: text("address"),
                url: text("url"),
            },
            "contacts" => Self::Contacts { cards: message.list("contacts", Fragment::new) },
            "interactive" => Self::interactive(message, inner.as_ref()),
            "button" => Self::Button { payload: text("payload"), text: text("text") },
            "order" => {
                let items = inner.as_ref().map(|order| order.list("product_items", OrderItem::of));
                Self::Order {
                    catalog_id: id("catalog_id"),
                    text: text("text"),
                    items: items.unwrap_or_default(),
                }
            }
            "system" => Self::System {
                event: id("type"),
                body: text("body"),
                wa_id: id("wa_id").or_else(|| id("new_wa_id")),
                user_id: id("user_id"),
                parent_user_id: id("parent_user_id"),
            },
            "reaction" => Self::Reaction(Reaction::of(message)),
            "edit" if edits < EDITS_MAX => {
                let edited = inner.as_ref().and_then(|edit| edit.object("message"));
                let edited = edited.unwrap_or_else(|| Object::of(Value::of("{}")));
                let content = Box::new(Self::of(&edited, edits + 1));
                Self::Edit { original_id: id("original_message_id"), content }
            }
            "revoke" => Self::Revoke { original_id: id("original_message_id") },
            "unsupported" => Self::Unsupported { unsupported_type: id("type") },
            "request_welcome" => Self::RequestWelcome,
            "media_placeholder" => Self::MediaPlaceholder,
            "ephemeral" => Self::Ephemeral,
            _ => Self::Other { details: message.fragment(word), name },
        }
    }

    fn interactive(message: &Object<'a>, interactive: Option<&Object<'a>>) -> Self {
        let r#type = interactive.and_then(|interactive| interactive.id("type"));
        let reply =
            interactive.zip(r#type.as_deref()).and_then(|(interactive, r#type)| interactive.object(r#type));
        let Some(reply) = reply else {
            return Self::Interactive { details: message.fragment("interactive") };
        };
        match r#type.as_deref().unwrap_or_default() {
            "button_reply" => Self::ButtonReply { id: reply.text("id"), title: reply.text("title") },
            "list_reply" => Self::ListReply {
                id: reply.text("id"),
                title: reply.text("title"),
                description: reply.text("description"),
            },
            "nfm_reply" => Self::FlowReply {
                name: reply.id("name"),
                body: reply.text("body"),
                response_json: reply.text("response_json"),
            },
            "call_permission_reply" => Self::CallPermission {
                response: reply.id("response"),
                is_permanent: reply.flag("is_permanent"),
                expires_at: reply.time("expiration_timestamp"),
                response_source: reply.id("response_source"),
            },
            _ => Self::Interactive { details: message.fragment("interactive") },
        }
    }
}

impl<'a> Media<'a> {
    fn of(media: Option<&Object<'a>>) -> Self {
        let text = |member: &str| media.and_then(|media| media.text(member));
        let flag = |member: &str| media.and_then(|media| media.flag(member));
        Self {
            media_id: media.and_then(|media| media.id("id")),
            mime_type: text("mime_type"),
            sha256: text("sha256"),
            url: text("url"),
            caption: text("caption"),
            filename: text("filename"),
            voice: flag("voice"),
            animated: flag("animated"),
        }
    }
}

impl<'a> OrderItem<'a> {
    fn of(item: Value<'a>) -> Self {
        let item = Object::of(item);
        Self {
            product_id: item.id("product_retailer_id"),
            quantity: item.number("quantity"),
            price: item.number("item_price"),
            currency: item.id("currency"),
        }
    }
}
