//! What destinations share, and that none takes it from the others.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use waypost_domain::{Patience, limits};
use waypost_engine::dispatch::Destination;

use crate::house::{House, NAME};
use crate::script::Script;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_that_hang_take_no_attempts_from_others_and_all_together_are_bounded() {
    let house = House::new();
    let hung: Arc<Script> = Arc::default();
    hung.hang();
    for name in 0..30 {
        let name = format!("hung-{name}.test");
        house.dispatcher.put(Destination {
            name: name.as_str().into(),
            sender: hung.clone(),
            concurrency_max: 200,
            ..house.destination()
        });
        for number in 0..100 {
            let conversation = format!("conversation {number}");
            house.accept_for(&name, &format!("{number}"), &[&conversation]).await;
        }
    }
    house.until("hung attempts", || hung.under_way.load(Ordering::SeqCst) >= 100).await;
    house.start(Patience::default());
    for number in 0..50 {
        house.accept_for(NAME, &format!("{number}"), &[&format!("conversation {number}")]).await;
    }
    house.until_owed(0).await;
    let most = hung.most_under_way.load(Ordering::SeqCst);
    assert!(most <= limits::ATTEMPTS_MAX, "{most} at once");
    hung.let_go(10_000);
    house.until("the others", || hung.taken.load(Ordering::SeqCst) == 3_000).await;
    house.stop().await;
}
