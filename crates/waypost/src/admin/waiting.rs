//! Why something that is owed is not on its way: the first reason that holds, in words.

use waypost_domain::DeliveryState;
use waypost_store::{DeliveryFilter, DeliveryPage, DeliveryRecord};

use super::Admin;
use super::problem::Problem;
use crate::rendering::{WaitsFor, time};

/// What a delivery of that conversation waits for; none where it is not owed, or an attempt is under way.
pub(super) async fn of(
    admin: &Admin,
    record: &DeliveryRecord,
    conversation: Option<&str>,
) -> Result<Option<WaitsFor>, Problem> {
    if record.state != DeliveryState::Owed {
        return Ok(None);
    }
    let owed = &record.owed;
    let name = &owed.destination;
    let because = |code: &'static str, what: String| {
        Ok(Some(WaitsFor { code: code.to_owned(), what, delivery: None, until: None }))
    };
    let Some(handle) = admin.dispatcher.destination(name) else {
        return because(
            "destination_gone",
            format!("there is no destination {name} any more; bring it back, or discard this"),
        );
    };
    if handle.is_sending(owed.id) {
        return Ok(None);
    }
    let status = handle.status();
    if status.paused {
        return because("paused", format!("an operator holds {name}; `waypost resume {name}` lets it go"));
    }
    if status.down {
        let code = status.last_failure.map(|(code, _)| format!(" ({code})")).unwrap_or_default();
        return because(
            "destination_down",
            format!("{name} is down{code}; it is probed, and goes on once a probe succeeds"),
        );
    }
    // What was overtaken is in nobody's way, and nobody in its.
    if let Some(conversation) = conversation.filter(|_| !owed.overtaken) {
        let before_it = DeliveryFilter {
            destination: Some(name.to_string()),
            conversation: Some(conversation.to_owned()),
            state: Some(DeliveryState::Owed),
            overtaken: Some(false),
            ..DeliveryFilter::default()
        };
        let page = DeliveryPage { before: Some(owed.id), limit: 1 };
        if let Some(first) = admin.store.deliveries(before_it, page).await?.deliveries.first() {
            let id = first.delivery.owed.id.to_string();
            return Ok(Some(WaitsFor {
                code: "conversation".to_owned(),
                what: format!("{id} of the same conversation goes first"),
                delivery: Some(id),
                until: None,
            }));
        }
    }
    if owed.due_at > admin.clock.wall() {
        let until = time(owed.due_at);
        return Ok(Some(WaitsFor {
            code: "next_attempt".to_owned(),
            what: format!("the next attempt is due at {until}; `waypost deliveries retry` makes it now"),
            delivery: None,
            until: Some(until),
        }));
    }
    because(
        "turn",
        format!(
            "its turn: {} attempts at {name} are under way, of {} at most",
            status.in_flight, status.concurrency
        ),
    )
}
