//! scratch
#![allow(clippy::all, clippy::print_stdout, clippy::unwrap_used)]
use waypost_domain::*;
use waypost_store::conformance::samples::*;
use waypost_store::*;
fn main() {
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    rt.block_on(async {
        let dir = tempfile::tempdir_in("/tmp/wp").unwrap();
        let subject = |p: &std::path::Path| {
            let o = StoreOptions { path: p.join("waypost.db"), readers: 2, queue_max: 4096, queue_bytes_max: 1 << 26, dedupe_window: limits::DEDUPE_WINDOW, bytes_max: None, free_bytes_min: 0 };
            Store::open(o, Clock::system()).unwrap()
        };
        let store = subject(dir.path());
        let c = Clock::system();
        let t = c.monotonic();
        let mut wamid = 0u64;
        for round in 0..300u64 {
            let tasks = (0..10).map(|k| {
                let store = store.clone();
                let base = wamid + k * 100;
                async move {
                    let events: Vec<_> = (0..100).map(|n| {
                        let w = format!("wamid.{}", base + n);
                        let mut e = message(&w);
                        e.conversation = Some(format!("1:{}", (base + n) % 10_000).into());
                        e
                    }).collect();
                    let mut a = request(events);
                    a.received_at = Clock::system().wall();
                    a.deliveries = (0..100).map(|p| single(&format!("dest{}", (base + u64::from(p)) % 200), p)).collect();
                    store.accept(a).await.unwrap().owed
                }
            });
            let owed: Vec<_> = together(tasks).await.into_iter().flatten().collect();
            wamid += 1000;
            // Half of the rounds delivered, a few dead.
            if round % 2 == 0 { store.settle_many(owed.iter().map(|o| delivered(o.id)).collect()).await.unwrap(); }
            else { store.settle_many(owed.iter().take(5).map(|o| dead(o.id)).collect()).await.unwrap(); 
                   store.settle_many(owed.iter().skip(5).take(5).map(|o| retry(o.id, UnixMillis(99))).collect()).await.unwrap(); }
        }
        println!("filled in {:?}", c.monotonic() - t);
        let none = DeliveryFilter::default;
        let s = |x: &str| Some(x.to_owned());
        let cases = vec![
            ("all", none()),
            ("owed", DeliveryFilter { state: Some(DeliveryState::Owed), ..none() }),
            ("owed dest", DeliveryFilter { state: Some(DeliveryState::Owed), destination: s("dest7"), ..none() }),
            ("dead", DeliveryFilter { state: Some(DeliveryState::Dead), ..none() }),
            ("dead dest", DeliveryFilter { state: Some(DeliveryState::Dead), destination: s("dest7"), ..none() }),
            ("wamid", DeliveryFilter { wamid: s("wamid.5000"), ..none() }),
            ("conversation", DeliveryFilter { conversation: s("1:77"), ..none() }),
            ("code", DeliveryFilter { last_code: s("connect_refused"), ..none() }),
            ("nobody", DeliveryFilter { overtaken: Some(true), conversation: s("1:77"), last_code: s("connect_refused"), ..none() }),
            ("source+none", DeliveryFilter { source: s("acme"), last_status: Some(999), ..none() }),
        ];
        for (name, f) in cases {
            for limit in [50, 1000] {
                let mut worst = std::time::Duration::ZERO; let mut before = None; let mut n = 0; let mut pages = 0;
                for _ in 0..8 {
                    let t = c.monotonic();
                    let l = store.deliveries(f.clone(), DeliveryPage { before, limit }).await.unwrap();
                    worst = worst.max(c.monotonic() - t); n += l.deliveries.len(); pages += 1;
                    before = l.next; if before.is_none() { break; }
                }
                println!("{name:14} limit {limit:5} pages {pages} found {n:6} worst {worst:?}");
            }
        }
        let t = c.monotonic();
        let on = ActOn { selection: Selection::Matching { filter: DeliveryFilter { state: Some(DeliveryState::Delivered), ..none() }, after: None, at_most: 10_000 }, ..act_on(DeliveryId(0)) };
        let o = store.replay(ActOn { plan: true, ..on.clone() }).await.unwrap();
        println!("plan {} {:?}", o.count, c.monotonic() - t);
        let t = c.monotonic();
        let o = store.replay(on).await.unwrap();
        println!("replay {} more {} {:?}", o.count, o.more(), c.monotonic() - t);
        let t = c.monotonic();
        let l = store.deliveries(DeliveryFilter { state: Some(DeliveryState::Owed), ..none() }, DeliveryPage { before: None, limit: 50 }).await.unwrap();
        println!("owed after replay {} {:?}", l.deliveries.len(), c.monotonic() - t);
    });
}
