//! Two tenants behind one address: what is one's never reaches the other, however it comes mixed.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use waypost_domain::MatchKey;
use waypost_engine::routing::{Batches, Routing};
use waypost_engine::sender::Signing;

use crate::house::{House, matching, with};
use crate::receiver::Receiver;

/// The tenants' marks: every text of a tenant's holds it, and nothing of the other's.
const MARKS: [&str; 2] = ["alder", "birch"];

/// What may happen at a tenant's number. Each writes its mark wherever it can.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Message,
    Status,
    Echo,
    Call,
    /// Of a field that nobody has heard of.
    Novelty,
}

fn happening() -> impl Strategy<Value = (usize, Happening)> {
    let all = [Happening::Message, Happening::Status, Happening::Echo, Happening::Call, Happening::Novelty];
    (0..2_usize, prop::sample::select(all.to_vec()))
}

/// A change of one tenant's with these happenings in it: those of one field, in as many arrays as it has.
fn change(tenant: usize, happenings: &[(Happening, u64)]) -> String {
    let mark = MARKS[tenant];
    let person = format!("1415555000{tenant}");
    let mut arrays = [Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for (happening, id) in happenings {
        let element = match happening {
            Happening::Message => format!(
                r#"{{"from":"{person}","id":"wamid.{mark}.{id}","timestamp":"1790000000","type":"text","text":{{"body":"{mark} writes \u00e9"}}}}"#
            ),
            Happening::Status => format!(
                r#"{{"id":"wamid.{mark}.{id}","status":"read","timestamp":"1790000000","recipient_id":"{person}"}}"#
            ),
            Happening::Echo => format!(
                r#"{{"from":"{mark}","to":"{person}","id":"wamid.{mark}.{id}","timestamp":"1790000000","type":"text","text":{{"body":"{mark}"}}}}"#
            ),
            Happening::Call => format!(
                r#"{{"id":"wacid.{mark}.{id}","from":"{person}","event":"terminate","timestamp":"1790000000"}}"#
            ),
            Happening::Novelty => format!(r#"{{"said":"{mark}","wacid.{mark}.{id}":1}}"#),
        };
        arrays[*happening as usize].push(element);
    }
    let field = match happenings[0].0 {
        Happening::Message | Happening::Status => "messages",
        Happening::Echo => "smb_message_echoes",
        Happening::Call => "calls",
        Happening::Novelty => "novelties",
    };
    let names = ["messages", "statuses", "message_echoes", "calls", "novelties"];
    let arrays: String = names
        .iter()
        .zip(&arrays)
        .filter(|(_, elements)| !elements.is_empty())
        .map(|(name, elements)| format!(r#","{name}":[{}]"#, elements.join(",")))
        .collect();
    format!(
        r#"{{"value":{{"metadata":{{"display_phone_number":"{mark}","phone_number_id":"{mark}"}},"contacts":[{{"profile":{{"name":"{mark}"}},"wa_id":"{person}"}}]{arrays}}},"field":"{field}"}}"#
    )
}

/// A body of entries of changes, and for each tenant the ids that are theirs.
fn batch(entries: &[Vec<(usize, Happening, u8)>], next: &AtomicU64) -> (String, [BTreeSet<String>; 2]) {
    let mut ids = [BTreeSet::new(), BTreeSet::new()];
    let written: Vec<String> = entries
        .iter()
        .map(|changes| {
            let changes: Vec<String> = changes
                .iter()
                .map(|(tenant, happening, count)| {
                    let mut happenings = Vec::new();
                    for _ in 0..*count {
                        let id = next.fetch_add(1, Ordering::SeqCst);
                        happenings.push((*happening, id));
                        ids[*tenant].insert(format!(".{}.{id}\"", MARKS[*tenant]));
                    }
                    change(*tenant, &happenings)
                })
                .collect();
            format!(r#"{{"id":"88","time":1790000000,"changes":[{}]}}"#, changes.join(","))
        })
        .collect();
    (format!(r#"{{"object":"whatsapp_business_account","entry":[{}]}}"#, written.join(",")), ids)
}

#[test]
fn two_tenants_in_one_batch_never_cross() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (house, receivers) =
        runtime.block_on(async { (House::new(), [Receiver::start().await, Receiver::start().await]) });
    let recipients = runtime.block_on(async {
        [
            house.destination("first", &receivers[0], Batches::Split, with("first's")),
            house.destination("second", &receivers[1], Batches::Whole, Signing::Source),
        ]
    });
    let routing = Routing::new(
        MARKS
            .iter()
            .zip(recipients)
            .map(|(mark, to)| (matching(&[(MatchKey::PhoneNumberId, &[*mark])]), [to])),
    );
    let next = AtomicU64::new(1_000);
    let changes = prop::collection::vec(
        (happening(), 1..4_u8).prop_map(|((tenant, what), count)| (tenant, what, count)),
        1..5,
    );
    let batches = prop::collection::vec(changes, 1..4);
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let due: Mutex<[BTreeSet<String>; 2]> = Mutex::default();
    let outcome = runner.run(&batches, |entries| {
        let (body, ids) = batch(&entries, &next);
        runtime.block_on(house.post(body.as_bytes(), &routing));
        for (due, ids) in due.lock().unwrap().iter_mut().zip(ids) {
            due.extend(ids);
        }
        Ok(())
    });
    outcome.unwrap();
    let due = due.into_inner().unwrap();
    for (tenant, receiver) in receivers.iter().enumerate() {
        let (mine, theirs) = (MARKS[tenant], MARKS[1 - tenant]);
        let found = |all: &BTreeSet<String>| {
            let seen = receiver.seen();
            all.iter().filter(|id| seen.iter().any(|seen| seen.text().contains(id.as_str()))).count()
        };
        runtime.block_on(async {
            for _ in 0..1_000 {
                if found(&due[tenant]) == due[tenant].len() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        });
        assert_eq!(found(&due[tenant]), due[tenant].len(), "{mine} has all that is theirs");
        for seen in receiver.seen() {
            assert!(
                seen.text().contains(mine) && !seen.text().contains(theirs),
                "{mine} saw {}",
                seen.text()
            );
            assert!(!seen.headers.iter().any(|(_, value)| value.contains(theirs)));
        }
    }
}
