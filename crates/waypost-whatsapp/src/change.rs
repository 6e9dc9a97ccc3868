//! A change: one `field` with its `value`, and whose it is.

use std::borrow::Cow;
use std::cell::OnceCell;

use crate::canonical;
use crate::contact::Contacts;
use crate::json::{Members, Value};

/// The phone number id in the App Dashboard's test payloads.
const TEST_PHONE_NUMBER_ID: &str = "123456123";
/// The entry id in the App Dashboard's test payloads.
const TEST_ENTRY_ID: &str = "0";

/// One change, with what its elements need to know of it.
pub(crate) struct Change<'a> {
    /// The webhook field, or empty.
    pub(crate) field: Cow<'a, str>,
    /// `entry.id`: nearly always the WhatsApp Business Account.
    pub(crate) entry_id: Option<Cow<'a, str>>,
    /// `entry.time`, in seconds.
    pub(crate) time: Option<Cow<'a, str>>,
    pub(crate) phone_number_id: Option<Cow<'a, str>>,
    pub(crate) display_phone_number: Option<Cow<'a, str>>,
    pub(crate) waba_id: Option<Cow<'a, str>>,
    /// The value, or the whole change where it has none.
    pub(crate) value: Value<'a>,
    /// The value's members, if it is an object.
    pub(crate) members: Members<'a>,
    pub(crate) contacts: Contacts<'a>,
    /// What stands before every key: `standby:` for copies.
    pub(crate) prefix: &'static str,
    hash: OnceCell<String>,
}

impl<'a> Change<'a> {
    pub(crate) fn new(
        field: Cow<'a, str>,
        entry_id: Option<Cow<'a, str>>,
        time: Option<Cow<'a, str>>,
        value: Value<'a>,
        members: Members<'a>,
    ) -> Self {
        let mut contacts = Contacts::default();
        let nested = members.all("standby").filter_map(|standby| standby.member("contacts"));
        for array in members.all("contacts").chain(nested) {
            contacts.add(array);
        }
        contacts.sort();
        Self {
            phone_number_id: phone_number_id(&field, &members),
            display_phone_number: display_phone_number(&members),
            waba_id: waba_id(&field, &members, entry_id.as_ref()),
            prefix: if field == "standby" { "standby:" } else { "" },
            hash: OnceCell::new(),
            field,
            entry_id,
            time,
            value,
            members,
            contacts,
        }
    }

    /// `P` of the keys: the phone number id, else the display number, else nothing.
    pub(crate) fn number(&self) -> &str {
        self.phone_number_id.as_deref().or(self.display_phone_number.as_deref()).unwrap_or_default()
    }

    /// `W` of the keys: the entry's id, else nothing.
    pub(crate) fn account(&self) -> &str {
        self.entry_id.as_deref().unwrap_or_default()
    }

    /// `h` of the keys: the hash of the value.
    pub(crate) fn hash(&self) -> &str {
        self.hash.get_or_init(|| canonical::hash(self.value))
    }

    /// Whether this came from the dashboard's Test button, whose ids never change.
    pub(crate) fn is_test(&self) -> bool {
        self.entry_id.as_deref() == Some(TEST_ENTRY_ID)
            || self.phone_number_id.as_deref() == Some(TEST_PHONE_NUMBER_ID)
    }
}

/// Most fields have `metadata`; the few others say it elsewhere or not at all (Meta's reference
/// pages for `messaging_handovers`, `account_settings_update` and `account_alerts`).
fn phone_number_id<'a>(field: &str, members: &Members<'a>) -> Option<Cow<'a, str>> {
    let alerted = || {
        let is_number = field == "account_alerts" && members.text("entity_type")? == "PHONE_NUMBER";
        if is_number { members.text("entity_id") } else { None }
    };
    ["metadata", "recipient", "phone_number_settings"]
        .into_iter()
        .find_map(|object| members.text_in(object, "phone_number_id"))
        .or_else(|| members.get("standby")?.member("metadata")?.text_at("phone_number_id"))
        .or_else(alerted)
}

fn display_phone_number<'a>(members: &Members<'a>) -> Option<Cow<'a, str>> {
    ["metadata", "recipient"]
        .into_iter()
        .find_map(|object| members.text_in(object, "display_phone_number"))
        .or_else(|| members.get("standby")?.member("metadata")?.text_at("display_phone_number"))
        .or_else(|| members.text("display_phone_number"))
        .or_else(|| members.text("phone_number"))
}

/// The entry's id, except where that is a business portfolio's (`partner_solutions`, and
/// `account_update` about partners, ad accounts and terms) or the `0` of test payloads. An
/// `account_update` may name the account itself.
fn waba_id<'a>(field: &str, members: &Members<'a>, entry_id: Option<&Cow<'a, str>>) -> Option<Cow<'a, str>> {
    let entry_id = entry_id.filter(|id| *id != TEST_ENTRY_ID).cloned();
    match field {
        "partner_solutions" => None,
        "account_update" => members.text_in("waba_info", "waba_id").or_else(|| {
            let event = members.text("event").unwrap_or_default();
            let of_portfolio = event.starts_with("PARTNER_")
                || matches!(&*event, "AD_ACCOUNT_LINKED" | "MM_LITE_TERMS_SIGNED");
            entry_id.filter(|_| !of_portfolio)
        }),
        _ => entry_id,
    }
}
