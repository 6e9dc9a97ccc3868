//! Whose contact is whose: which of a value's `contacts` each of its elements has.

use std::borrow::Cow;
use std::collections::HashMap;

use super::SHARED_BYTES_MAX;
use crate::json::{Container, Members, Value};

/// The members of an element that name someone.
const NAMES: [&str; 17] = [
    "from",
    "from_user_id",
    "from_parent_user_id",
    "to",
    "to_user_id",
    "to_parent_user_id",
    "recipient_id",
    "recipient_user_id",
    "recipient_parent_user_id",
    "recipient_participant_id",
    "participant_recipient_id",
    "recipient_participant_user_id",
    "recipient_participant_parent_user_id",
    "wa_id",
    "user_id",
    "parent_user_id",
    "phone_number",
];
/// The objects of an element whose members name someone: of an address book's entry, of a system
/// message, of a changed id.
const OBJECTS: [&str; 4] = ["contact", "system", "user_id", "parent_user_id"];
/// What names someone in them besides [`NAMES`].
const IN_OBJECTS: [&str; 4] = ["previous", "current", "new_wa_id", "customer"];
/// The lists of an element whose items name someone; so do those whose name ends in `participants`.
const LISTS: [&str; 2] = ["threads", "join_requests"];
/// What names someone in their items besides [`NAMES`].
const IN_LISTS: [&str; 2] = ["id", "input"];

/// The members of a contact that name them.
const SORTS: [&str; 3] = ["wa_id", "user_id", "parent_user_id"];

/// How splitting heeds contacts when it looks for the ids that an element lacks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Heed {
    /// First: those of the value.
    First,
    /// Then: those of its `standby`.
    Second,
    /// Not at all: they stand where none are expected.
    Never,
}

/// The contacts that have one name.
#[derive(Default)]
struct Known {
    first: Option<u32>,
    /// The first that tells a user id too, which is where the ids an element lacks are looked for.
    telling: Option<u32>,
    further: Vec<u32>,
}

/// For each element its contacts, by their numbers, in order.
pub(super) fn owned<'a>(
    contacts: impl Iterator<Item = (Heed, &'a str)>,
    elements: impl Iterator<Item = &'a str>,
) -> Vec<Vec<u32>> {
    let mut contacts = Contacts::read(contacts);
    let mut owned: Vec<Vec<u32>> =
        (1_u32..).zip(elements).map(|(number, element)| contacts.of(number, element)).collect();
    contacts.share_unclaimed(&mut owned);
    owned
}

struct Contacts<'a> {
    /// By heed, sort and name.
    known: HashMap<(Heed, usize, Cow<'a, str>), Known>,
    bytes: Vec<usize>,
    /// The last element that names it, counted from 1; 0 is none.
    named_by: Vec<u32>,
    /// Members of what is being read; kept to spare allocations.
    members: Members<'a>,
}

impl<'a> Contacts<'a> {
    fn read(contacts: impl Iterator<Item = (Heed, &'a str)>) -> Self {
        let mut known: HashMap<_, Known> = HashMap::new();
        let mut members = Members::default();
        let mut bytes = Vec::new();
        for (number, (heed, contact)) in (0_u32..).zip(contacts) {
            bytes.push(contact.len());
            members.read(&mut Value::of(contact).cursor());
            let is_telling = ["user_id", "parent_user_id"].iter().any(|name| members.text(name).is_some());
            for (sort, name) in SORTS.iter().enumerate() {
                let Some(name) = members.text(name) else { continue };
                let same = known.entry((heed, sort, name)).or_default();
                if same.first.is_none() {
                    same.first = Some(number);
                } else if same.telling.is_some() || !is_telling {
                    same.further.push(number);
                }
                if is_telling {
                    same.telling.get_or_insert(number);
                }
            }
        }
        Self { known, named_by: vec![0; bytes.len()], bytes, members }
    }

    /// The contacts named in an element: of each name the first, and with the first element that
    /// names it all of them.
    fn of(&mut self, number: u32, element: &'a str) -> Vec<u32> {
        if self.known.is_empty() {
            return Vec::new();
        }
        self.members.read(&mut Value::of(element).cursor());
        let mut names = Vec::new();
        names_in(&self.members, &mut names);
        let mut own = Vec::new();
        let mut repeated_bytes = 0;
        for name in names {
            for heed in [Heed::First, Heed::Second, Heed::Never] {
                for sort in 0..SORTS.len() {
                    let Some(same) = self.known.get_mut(&(heed, sort, name.clone())) else { continue };
                    let further = std::mem::take(&mut same.further);
                    for contact in [same.first, same.telling].into_iter().flatten().chain(further) {
                        let Some(named_by) = self.named_by.get_mut(contact as usize) else { continue };
                        let before = std::mem::replace(named_by, number);
                        if before == number {
                            continue;
                        }
                        if before > 0 {
                            repeated_bytes += self.bytes.get(contact as usize).copied().unwrap_or_default();
                        }
                        if before == 0 || repeated_bytes <= SHARED_BYTES_MAX {
                            own.push(contact);
                        }
                    }
                }
            }
        }
        own.sort_unstable();
        own
    }

    /// Gives away the contacts that no element names.
    fn share_unclaimed(&self, owned: &mut [Vec<u32>]) {
        let unnamed = (0_u32..).zip(&self.named_by).filter(|(_, named_by)| **named_by == 0);
        let unclaimed: Vec<u32> = unnamed.map(|(number, _)| number).collect();
        let is_small = |number: u32| self.bytes.get(number as usize).is_some_and(|n| *n <= SHARED_BYTES_MAX);
        let without = owned.iter().filter(|own| own.is_empty()).count();
        let mut nameless = owned.iter_mut().filter(|own| own.is_empty());
        match unclaimed.as_slice() {
            [] => {}
            [only] if without > 0 && is_small(*only) => nameless.for_each(|own| own.push(*only)),
            several if several.len() == without => {
                nameless.zip(several).for_each(|(own, number)| own.push(*number));
            }
            several => {
                if let Some(first) = nameless.next() {
                    first.extend_from_slice(several);
                } else if let Some(first) = owned.first_mut() {
                    first.extend_from_slice(several);
                }
            }
        }
    }
}

/// Adds every name in an element.
fn names_in<'a>(element: &Members<'a>, names: &mut Vec<Cow<'a, str>>) {
    for (member, value) in element.iter() {
        if NAMES.contains(&member)
            && let Some(name) = value.text()
        {
            names.push(name);
            continue;
        }
        let is_list = LISTS.contains(&member) || member.ends_with("participants");
        let further: &[&str] = match value.cursor().container() {
            Some(Container::Object) if OBJECTS.contains(&member) => &IN_OBJECTS,
            Some(_) if is_list => &IN_LISTS,
            _ => continue,
        };
        value.cursor().items(|cursor| {
            cursor.members(|member, cursor| {
                if NAMES.contains(&&*member) || further.contains(&&*member) {
                    names.extend(cursor.value().text());
                }
            });
        });
    }
}
