//! Who an event is about: the contact part of a conversation.
//!
//! A person is named by a parent business-scoped user id, a business-scoped user id (BSUID) or a
//! phone number (`wa_id`), and any of them may be missing (Meta, "Business-scoped user IDs"). The
//! most lasting one names the conversation, and `contacts[]` tells those an element leaves out.

use std::borrow::Cow;

use crate::json::{Members, TEXT_BYTES_MAX, Value};

/// Every identity of the person an event's conversation is with, as the payload gives them: in the
/// element itself, and in the one of the value's `contacts` that has the same phone number or the
/// same BSUID. At least one of them is known.
///
/// Phone numbers are digits and user ids begin with a country code and a dot (`US.1349`), or `US.ENT.`
/// where they are a parent's, so that none can be taken for one of another sort.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contact<'a> {
    /// The business number's id, or where that is missing its display number: whose contact this is.
    /// BSUIDs of one person differ from business to business. Empty where neither is known.
    pub number: Cow<'a, str>,
    /// The parent business-scoped user id, which linked businesses share.
    pub parent: Option<Cow<'a, str>>,
    /// The business-scoped user id (BSUID).
    pub user: Option<Cow<'a, str>>,
    /// The phone number in digits (`wa_id`). Missing where the person has a username and has not
    /// lately been in touch by phone number.
    pub phone: Option<Cow<'a, str>>,
    /// What the person calls themselves.
    pub name: Option<Cow<'a, str>>,
    /// The person's username.
    pub username: Option<Cow<'a, str>>,
    /// Identities that this very event says were the same person's until now. They are no longer:
    /// the phone number may be given to someone else. Said by a `user_id_update`, and by system
    /// messages about a new number or a new user id; empty in all others.
    pub former: Vec<Cow<'a, str>>,
}

impl Contact<'_> {
    /// Bytes of text that it owns.
    pub(crate) fn owned_bytes(&self) -> usize {
        let names = [&self.parent, &self.user, &self.phone, &self.name, &self.username].into_iter().flatten();
        let owned = |text: &&Cow<'_, str>| matches!(text, Cow::Owned(_));
        names.chain(&self.former).chain([&self.number]).filter(owned).map(|text| text.len()).sum()
    }
}

/// What a system message says of its sender's ids, by its type; `None` where it says nothing of them
/// (Meta, "System messages" and "Business-scoped user IDs").
pub(crate) fn renaming(system_type: &str) -> Option<Renaming> {
    match system_type {
        "user_changed_number" | "customer_changed_number" => Some(Renaming::Number),
        "user_changed_user_id" => Some(Renaming::UserId),
        _ => None,
    }
}

/// Which of a person's ids changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Renaming {
    /// The phone number, and with it all others.
    Number,
    /// The user ids, and perhaps the phone number.
    UserId,
}

/// The names of one person, as far as they are known.
#[derive(Clone, Default)]
pub(crate) struct Person<'a> {
    pub(crate) parent: Option<Cow<'a, str>>,
    pub(crate) user: Option<Cow<'a, str>>,
    pub(crate) phone: Option<Cow<'a, str>>,
    /// What they call themselves, and their username: no names of theirs in the sense of this type.
    pub(crate) profile: Profile<'a>,
}

/// What is told of a person besides who they are.
#[derive(Clone, Default)]
pub(crate) struct Profile<'a> {
    name: Option<Cow<'a, str>>,
    username: Option<Cow<'a, str>>,
}

impl<'a> Profile<'a> {
    /// Of one of the `contacts`.
    fn of(contact: &Members<'a>) -> Self {
        let text = |value: Value<'a>| value.string().filter(|text| text.len() <= TEXT_BYTES_MAX);
        let mut profile = Self::default();
        if let Some(told) = contact.get("profile") {
            told.cursor().members(|name, cursor| match &*name {
                "name" if profile.name.is_none() => profile.name = text(cursor.value()),
                "username" if profile.username.is_none() => profile.username = text(cursor.value()),
                _ => {}
            });
        }
        profile.username = profile.username.or_else(|| text(contact.get("username")?));
        profile
    }

    fn is_empty(&self) -> bool {
        self.name.is_none() && self.username.is_none()
    }
}

impl<'a> Person<'a> {
    /// A person from an element's members of these names.
    pub(crate) fn of(element: &Members<'a>, parent: &str, user: &str, phone: &str) -> Self {
        let (parent, user, phone) = (element.text(parent), element.text(user), element.text(phone));
        Self { parent, user, phone, profile: Profile::default() }
    }

    /// The name that lasts longest.
    pub(crate) fn name(&self) -> Option<&Cow<'a, str>> {
        self.names().next()
    }

    /// Every name, the most lasting first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Cow<'a, str>> {
        [&self.parent, &self.user, &self.phone].into_iter().flatten()
    }

    fn has_user_id(&self) -> bool {
        self.parent.is_some() || self.user.is_some()
    }

    /// The person, as a contact of a business number. `None` if nothing is known of them.
    pub(crate) fn contact(self, number: Cow<'a, str>, former: Vec<Cow<'a, str>>) -> Option<Contact<'a>> {
        self.name()?;
        let Self { parent, user, phone, profile: Profile { name, username } } = self;
        Some(Contact { number, parent, user, phone, name, username, former })
    }
}

/// The `contacts` of a value, to be found by phone number or BSUID, never by position.
#[derive(Default)]
pub(crate) struct Contacts<'a> {
    people: Vec<Person<'a>>,
    /// Indexes into `people`, sorted by phone number and by BSUID: a value may have thousands.
    by_phone: Vec<usize>,
    by_user: Vec<usize>,
}

impl<'a> Contacts<'a> {
    /// Adds the contacts of an array; to be followed by [`Contacts::sort`].
    pub(crate) fn add(&mut self, contacts: Value<'a>) {
        let mut contact = Members::default();
        contacts.cursor().items(|cursor| {
            contact.read(cursor);
            let mut person = Person::of(&contact, "parent_user_id", "user_id", "wa_id");
            person.profile = Profile::of(&contact);
            if person.has_user_id() || person.phone.is_some() && !person.profile.is_empty() {
                self.people.push(person);
            }
        });
    }

    /// Makes what was added findable. Of two contacts with one id, the first is found that has a user id, else the
    /// first.
    pub(crate) fn sort(&mut self) {
        let sorted = |id: Id<'a>| {
            let has_id = |index: &usize| self.people.get(*index).and_then(id).is_some();
            let mut order: Vec<usize> = (0..self.people.len()).filter(has_id).collect();
            order.sort_by_key(|index| {
                let person = self.people.get(*index);
                (person.and_then(id), person.is_none_or(|person| !person.has_user_id()))
            });
            order
        };
        (self.by_phone, self.by_user) = (sorted(phone), sorted(user));
    }

    /// The person with what their contact adds.
    pub(crate) fn complete(&self, person: Person<'a>) -> Person<'a> {
        let Some(contact) = self.find(&person) else { return person };
        Person {
            parent: person.parent.or_else(|| contact.parent.clone()),
            user: person.user.or_else(|| contact.user.clone()),
            phone: person.phone.or_else(|| contact.phone.clone()),
            profile: contact.profile.clone(),
        }
    }

    /// By BSUID, else by phone number: but a contact of the same number with another BSUID is another
    /// person, who had the number before or has it now.
    fn find(&self, person: &Person<'a>) -> Option<&Person<'a>> {
        let known = user(person).and_then(|wanted| self.search(&self.by_user, user, wanted));
        known.or_else(|| {
            let found = self.search(&self.by_phone, phone, phone(person)?)?;
            let is_other = user(person).zip(user(found)).is_some_and(|(wanted, found)| wanted != found);
            (!is_other).then_some(found)
        })
    }

    fn search(&self, order: &[usize], id: Id<'a>, wanted: &str) -> Option<&Person<'a>> {
        let id_at = |index: &usize| self.people.get(*index).and_then(id);
        let place = order.partition_point(|index| id_at(index) < Some(wanted));
        let index = order.get(place).filter(|index| id_at(index) == Some(wanted))?;
        self.people.get(*index)
    }
}

/// One of a person's names.
type Id<'a> = for<'p> fn(&'p Person<'a>) -> Option<&'p str>;

fn phone<'p>(person: &'p Person<'_>) -> Option<&'p str> {
    person.phone.as_deref()
}

fn user<'p>(person: &'p Person<'_>) -> Option<&'p str> {
    person.user.as_deref()
}
