//! What a route says that stands, and is probably not meant: what never holds, or was said already.

use std::collections::HashMap;
use std::sync::Arc;

use waypost_domain::{Match, MatchKey};
use waypost_whatsapp::{Class, Kind};

use super::super::finding::{Place, shown};
use super::super::loading::Loading;
use super::super::section::nearest;
use super::Route;

/// Meta's webhook fields that bear events of people, and the kinds that events of each can be ("Webhooks reference", one
/// page per field). Whatever is not understood is of the kinds in [`ALWAYS`].
const OF_PEOPLE: [(&str, &[Kind]); 18] = [
    ("messages", &[Kind::Message, Kind::Status, Kind::Action]),
    ("message_echoes", &[Kind::Echo]),
    ("smb_message_echoes", &[Kind::Echo]),
    ("smb_app_state_sync", &[Kind::ContactSync]),
    ("history", &[Kind::History, Kind::Message, Kind::Echo]),
    ("calls", &[Kind::Call, Kind::CallStatus]),
    ("user_preferences", &[Kind::Preference]),
    ("user_id_update", &[Kind::Identity]),
    ("automatic_events", &[Kind::Automatic]),
    ("tracking_events", &[Kind::Tracking]),
    ("messaging_handovers", &[Kind::Handover]),
    ("consumer_profile", &[]),
    ("group_lifecycle_update", &[Kind::Group]),
    ("group_participants_update", &[Kind::Group]),
    ("group_settings_update", &[Kind::Group]),
    ("group_status_update", &[Kind::Group]),
    ("standby", &[Kind::Message, Kind::Status, Kind::Echo]),
    // An entry without changes bears no field.
    ("", &[]),
];
/// Those that bear events of accounts.
const OF_ACCOUNTS: [&str; 19] = [
    "account_alerts",
    "account_review_update",
    "account_settings_update",
    "account_update",
    "business_capability_update",
    "business_username_updates",
    "flows",
    "message_template_components_update",
    "message_template_quality_update",
    "message_template_status_update",
    "partner_solutions",
    "payment_configuration_update",
    "phone_number_name_update",
    "phone_number_quality_update",
    "phone_number_username_update",
    "security",
    "template_category_update",
    "template_correct_category_detection",
    "template_performance_metrics",
];
/// What events of any field can be.
const ALWAYS: [Kind; 2] = [Kind::Error, Kind::Unknown];

/// Doubts about one match.
pub(super) fn of_match(wanted: &Match, place: &Place, is_table: bool, loading: &mut Loading<'_>) {
    if wanted.is_everything() {
        if is_table {
            let what = "an empty match takes every event";
            loading.warn(
                place.clone(),
                what,
                "Write match = \"all\" if that is meant, else the keys that must hold",
            );
        }
        return;
    }
    let of = |key: MatchKey| {
        let mut keys = wanted.keys();
        keys.find(|(named, _)| *named == key)
            .map(|(_, values)| values.collect::<Vec<_>>())
            .unwrap_or_default()
    };
    for key in [MatchKey::PhoneNumberId, MatchKey::WabaId] {
        for id in of(key).iter().filter(|id| !id.bytes().all(|byte| byte.is_ascii_digit())) {
            let what = format!("no {key} is {}: Meta's ids are digits alone", shown(id));
            loading.warn(
                place.clone(),
                what,
                "Copy the id from the App Dashboard; a number as people write it is display_phone_number",
            );
        }
    }
    let (fields, kinds, classes) = (of(MatchKey::Field), of(MatchKey::Kind), of(MatchKey::Class));
    let known: Vec<&'static str> = OF_PEOPLE.iter().map(|(field, _)| *field).chain(OF_ACCOUNTS).collect();
    for field in fields.iter().filter(|field| !is_known(field)) {
        let meant = match nearest(field, &known) {
            Some(meant) => format!("Did you mean {meant}?"),
            None => "Compare with the webhook fields in the App Dashboard; one that Meta made since is taken all the same".to_owned(),
        };
        loading.warn(place.clone(), format!("no webhook field {} is known here", shown(field)), meant);
    }
    let kinds: Vec<Kind> = kinds.iter().filter_map(|kind| Kind::parse(kind)).collect();
    let never = if !fields.is_empty()
        && !kinds.is_empty()
        && fields.iter().all(|field| is_known(field) && kinds.iter().all(|kind| !can_be(field, *kind)))
    {
        "no event of that field is of that kind"
    } else if classes == [Class::Operational.as_str()]
        && !kinds.is_empty()
        && kinds.iter().all(|kind| Class::of(*kind) == Class::Message)
    {
        "no event of that kind is of that class"
    } else {
        return;
    };
    let what = format!("{never}, so the route never takes anything");
    loading.warn(
        place.clone(),
        what,
        "All keys of a match must hold of an event: remove one, or make several routes of it",
    );
}

/// Doubts about the routes beside each other; `places` are theirs, in their order.
pub(super) fn of_routes(routes: &[Arc<Route>], places: &[Place], loading: &mut Loading<'_>) {
    let mut first_of: HashMap<(&str, &Match, &str), &Place> = HashMap::new();
    for (route, place) in routes.iter().zip(places) {
        for to in &route.to {
            match first_of.get(&(route.source.as_str(), &route.wanted, to.as_str())) {
                Some(first) => {
                    let what = format!("{} sends the same events to {to} already", first.key);
                    loading.warn(
                        place.clone(),
                        what,
                        "Remove one of them; each event goes to a destination once",
                    );
                }
                None => {
                    first_of.insert((&route.source, &route.wanted, to), place);
                }
            }
        }
    }
}

fn is_known(field: &str) -> bool {
    field.starts_with("group_")
        || OF_ACCOUNTS.contains(&field)
        || OF_PEOPLE.iter().any(|(known, _)| *known == field)
}

/// Whether an event of a known field can be of a kind.
fn can_be(field: &str, kind: Kind) -> bool {
    let of_field = OF_PEOPLE.iter().find(|(known, _)| *known == field);
    ALWAYS.contains(&kind)
        || of_field.is_some_and(|(_, kinds)| kinds.contains(&kind))
        || (kind == Kind::Account && OF_ACCOUNTS.contains(&field))
        || (kind == Kind::Group && field.starts_with("group_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the composed payload of every kind is.
    #[test]
    fn what_really_comes_is_held_possible() {
        for (name, _) in waypost_whatsapp::KINDS {
            let parts = waypost_whatsapp::Compose {
                phone_number_id: "1",
                display_phone_number: "2",
                waba_id: "3",
                contact: "4",
                sequence: 5,
                timestamp_s: 1_790_000_000,
                text: None,
                batch_size: 2,
            };
            let body = waypost_whatsapp::compose(name, &parts).unwrap();
            for event in waypost_whatsapp::split(body.as_bytes()).events {
                assert!(
                    is_known(&event.field) || event.kind == Kind::Unknown,
                    "{name}: field {}",
                    event.field
                );
                let can = !is_known(&event.field) || can_be(&event.field, event.kind);
                assert!(can, "{name}: {} {}", event.field, event.kind);
            }
        }
    }
}
