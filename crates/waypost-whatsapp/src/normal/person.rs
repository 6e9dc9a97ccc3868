//! People: every identity known of one, and what changed about them.

use std::borrow::Cow;

use serde::Serialize;

use super::reading::{Fragment, Object};
use crate::contact::Contact;
use crate::json::{Cursor, Value};

/// A person, with every identity that the webhook tells.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Eq, Default, Serialize, Debug)]
pub struct PersonView<'a> {
    /// The phone number, in digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wa_id: Option<Cow<'a, str>>,
    /// The business-scoped user id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Cow<'a, str>>,
    /// The parent business-scoped user id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_user_id: Option<Cow<'a, str>>,
    /// The username.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<Cow<'a, str>>,
    /// What they call themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Cow<'a, str>>,
    /// The hash of their identity, where the business checks identities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_key_hash: Option<Cow<'a, str>>,
    /// Ids that were theirs until this event, and are no longer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<Cow<'a, str>>,
}

/// What changed about a person.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct ContactUpdate<'a> {
    /// What happened: `user_id`, a system message's own word such as `user_changed_number`, or, in the
    /// business's address book, `address_book_add` (which is also said of changes) and
    /// `address_book_remove`. `profile` is the gateway's word: an event came with a name, username or identity
    /// that was not known of them.
    pub change: Cow<'a, str>,
    /// The notice that Meta shows for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Cow<'a, str>>,
    /// The message that said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<Cow<'a, str>>,
    /// The full name in the address book.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_name: Option<Cow<'a, str>>,
    /// The first name in the address book.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<Cow<'a, str>>,
}

/// A person's choice about messages.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Preference<'a> {
    /// About what, such as `marketing_messages`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<Cow<'a, str>>,
    /// `stop`, `resume` or `signup`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Cow<'a, str>>,
    /// What Meta says of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cow<'a, str>>,
    /// What was signed up to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signup_id: Option<Cow<'a, str>>,
}

/// Something a person did, such as following a link.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Action<'a> {
    /// Meta's word for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Cow<'a, str>>,
    /// What Meta wrote of it: the member named after the action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Fragment<'a>>,
}

impl<'a> PersonView<'a> {
    /// A person whose ids are these members of an object.
    pub(super) fn of(object: &Object<'a>, parent: &str, user: &str, phone: &str) -> Self {
        Self {
            wa_id: object.id(phone),
            user_id: object.id(user),
            parent_user_id: object.id(parent),
            username: object.id("username"),
            name: None,
            identity_key_hash: None,
            former: Vec::new(),
        }
    }

    pub(super) fn is_somebody(&self) -> bool {
        self.wa_id.is_some() || self.user_id.is_some() || self.parent_user_id.is_some()
    }

    /// Adds what a value's `contacts` tell of them. They are found by what names them now or, for who
    /// has just changed, by what did.
    pub(super) fn complete(&mut self, value: Option<Value<'a>>) {
        let Some(value) = value.filter(|_| self.is_somebody()) else { return };
        let mut contacts = Vec::new();
        value.cursor().members(|name, cursor| match &*name {
            "contacts" => find(cursor, self, &mut contacts),
            "standby" => {
                cursor.items(|cursor| {
                    cursor.members(|name, cursor| {
                        if name == "contacts" {
                            find(cursor, self, &mut contacts);
                        }
                    });
                });
            }
            _ => {}
        });
        let is_former = |id: &Cow<'_, str>, former: &[Cow<'_, str>]| former.contains(id);
        for contact in contacts {
            let profile = contact.object("profile");
            let told = |member: &str| profile.as_ref().and_then(|profile| profile.text(member));
            let id = |member: &str| contact.id(member).filter(|id| !is_former(id, &self.former));
            let ids = (id("wa_id"), id("user_id"), id("parent_user_id"));
            self.wa_id = self.wa_id.take().or(ids.0);
            self.user_id = self.user_id.take().or(ids.1);
            self.parent_user_id = self.parent_user_id.take().or(ids.2);
            self.name = self.name.take().or_else(|| told("name"));
            let username = told("username").or_else(|| contact.text("username"));
            self.username = self.username.take().or(username);
            self.identity_key_hash =
                self.identity_key_hash.take().or_else(|| contact.id("identity_key_hash"));
        }
    }

    /// Whether a contact is of this person: their user id decides where both have one.
    fn is_in(&self, contact: &Object<'a>) -> bool {
        let same = |mine: &Option<Cow<'a, str>>, member: &str| {
            let theirs = contact.id(member)?;
            Some(mine.as_ref() == Some(&theirs) || self.former.contains(&theirs))
        };
        let user = same(&self.user_id, "user_id").filter(|_| self.user_id.is_some());
        user.unwrap_or_else(|| {
            same(&self.wa_id, "wa_id").unwrap_or(false)
                || same(&self.parent_user_id, "parent_user_id").unwrap_or(false)
                || same(&self.user_id, "user_id").unwrap_or(false)
        })
    }
}

impl<'a> From<&Contact<'a>> for PersonView<'a> {
    fn from(contact: &Contact<'a>) -> Self {
        Self {
            wa_id: contact.phone.clone(),
            user_id: contact.user.clone(),
            parent_user_id: contact.parent.clone(),
            former: contact.former.clone(),
            ..Self::default()
        }
    }
}

/// Keeps the first contacts of a person; more than two of one person tell nothing new.
fn find<'a>(cursor: &mut Cursor<'a>, person: &PersonView<'a>, found: &mut Vec<Object<'a>>) {
    cursor.items(|cursor| {
        if found.len() < 2 {
            let contact = Object::of(cursor.value());
            if person.is_in(&contact) {
                found.push(contact);
            }
        }
    });
}

impl<'a> ContactUpdate<'a> {
    /// An entry of the address book.
    pub(super) fn address_book(entry: &Object<'a>) -> Self {
        let contact = entry.object("contact");
        let text = |member: &str| contact.as_ref().and_then(|contact| contact.text(member));
        let action = entry.id("action").unwrap_or_default();
        Self {
            change: Cow::Owned(format!("address_book_{action}")),
            text: None,
            message_id: None,
            full_name: text("full_name"),
            first_name: text("first_name"),
        }
    }

    /// A changed user id.
    pub(super) fn user_id(update: &Object<'a>) -> Self {
        Self { text: update.text("detail"), ..Self::new(Cow::Borrowed("user_id")) }
    }

    /// A system message about its sender.
    pub(super) fn system(message: &Object<'a>) -> Option<Self> {
        let system = message.object("system")?;
        let (text, message_id) = (system.text("body"), message.id("id"));
        Some(Self { text, message_id, ..Self::new(system.id("type")?) })
    }

    /// What the gateway noticed by itself.
    pub(super) fn profile() -> Self {
        Self::new(Cow::Borrowed("profile"))
    }

    fn new(change: Cow<'a, str>) -> Self {
        Self { change, text: None, message_id: None, full_name: None, first_name: None }
    }
}

impl<'a> Preference<'a> {
    pub(super) fn of(preference: &Object<'a>) -> Self {
        Self {
            category: preference.id("category"),
            value: preference.id("value"),
            detail: preference.text("detail"),
            signup_id: preference.id("signup_id"),
        }
    }
}

impl<'a> Action<'a> {
    pub(super) fn of(action: &Object<'a>) -> Self {
        let name = action.id("action_type");
        let details = name.as_deref().and_then(|name| action.fragment(&format!("{name}_data")));
        Self { details, action: name }
    }
}
