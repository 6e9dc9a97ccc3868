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
    let names: Vec<String> = (0..30).map(|number| format!("hung-{number}.test")).collect();
    let some = |round: usize| {
        (0..60).map(move |number| (format!("{round}-{number}"), format!("conversation {number}")))
    };
    for name in &names {
        let destination =
            Destination { name: name.as_str().into(), sender: hung.clone(), ..house.destination() };
        house.dispatcher.put(Destination { concurrency_max: 64, ..destination });
        house.accept_all_for(name, some(0)).await;
    }
    house.until("all well", || hung.taken.load(Ordering::SeqCst) == 30 * 60).await;
    hung.hang();
    for name in &names {
        house.accept_all_for(name, some(1)).await;
    }
    house.until("hung attempts", || hung.under_way.load(Ordering::SeqCst) >= 900).await;
    house.settle_down().await;
    house.start(Patience::default());
    for number in 0..50 {
        house.accept_for(NAME, &format!("{number}"), &[&format!("conversation {number}")]).await;
    }
    house.until_owed(0).await;
    let most = hung.most_under_way.load(Ordering::SeqCst);
    let bound = limits::ATTEMPTS_MAX + 31 * limits::ATTEMPTS_MIN;
    assert!(most <= bound, "{most} at once, where {} wait and {bound} may go", 30 * 60);
    hung.let_go(10_000);
    house.until("the others", || hung.taken.load(Ordering::SeqCst) == 2 * 30 * 60).await;
    house.stop().await;
}
