//! Who an event is about: the contact part of a conversation.
//!
//! A person is named by a parent business-scoped user id, a business-scoped user id (BSUID) or a
//! phone number (`wa_id`), and any of them may be missing (Meta, "Business-scoped user IDs"). The
//! most lasting one names the conversation, and `contacts[]` tells those an element leaves out.

use std::borrow::Cow;

use crate::json::{Members, Value};

/// The names of one person, as far as they are known.
#[derive(Clone, Default)]
pub(crate) struct Person<'a> {
    pub(crate) parent: Option<Cow<'a, str>>,
    pub(crate) user: Option<Cow<'a, str>>,
    pub(crate) phone: Option<Cow<'a, str>>,
}

impl<'a> Person<'a> {
    /// A person from an element's members of these names.
    pub(crate) fn of(element: &Members<'a>, parent: &str, user: &str, phone: &str) -> Self {
        Self { parent: element.text(parent), user: element.text(user), phone: element.text(phone) }
    }

    /// The name that lasts longest.
    pub(crate) fn name(self) -> Option<Cow<'a, str>> {
        self.parent.or(self.user).or(self.phone)
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
            let person = Person::of(&contact, "parent_user_id", "user_id", "wa_id");
            if person.parent.is_some() || person.user.is_some() {
                self.people.push(person);
            }
        });
    }

    /// Makes what was added findable. Of two contacts with one id, the first is found.
    pub(crate) fn sort(&mut self) {
        let sorted = |id: Id<'a>| {
            let has_id = |index: &usize| self.people.get(*index).and_then(id).is_some();
            let mut order: Vec<usize> = (0..self.people.len()).filter(has_id).collect();
            order.sort_by_key(|index| self.people.get(*index).and_then(id));
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
        }
    }

    fn find(&self, person: &Person<'a>) -> Option<&Person<'a>> {
        let known = user(person).and_then(|wanted| self.search(&self.by_user, user, wanted));
        known.or_else(|| self.search(&self.by_phone, phone, phone(person)?))
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
