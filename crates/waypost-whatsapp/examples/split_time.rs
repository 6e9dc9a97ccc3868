//! How long splitting, verifying and signing take: `cargo run --release --example split_time`.

#![expect(clippy::disallowed_methods, reason = "a stopwatch is the point")]
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::hint::black_box;
use std::time::Instant;

use waypost_whatsapp::{AppSecret, AppSecrets, Compose, compose, sign, split};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parts = Compose::default();
    for kind in
        ["text", "status.sent", "bsuid.parent", "call.connect", "template.approved", "unknown", "history"]
    {
        let body = compose(kind, &parts).unwrap_or_default();
        measure(&format!("split {kind}"), body.len(), || split(black_box(body.as_bytes())).events.len());
    }
    for batch_size in [100, 1_000] {
        let body = compose("batch", &Compose { batch_size, ..parts }).unwrap_or_default();
        measure(&format!("split batch of {batch_size}"), body.len(), || {
            split(black_box(body.as_bytes())).events.len()
        });
    }
    let list = vec![
        r#"{"from":"16505551234","id":"wamid.1","timestamp":"1749416383","type":"text","text":{"body":"x"}}"#;
        30_000
    ]
    .join(",");
    for (what, value) in [
        ("3 MB of messages", format!(r#"{{"messages":[{list}]}}"#)),
        ("3 MB of an unknown array", format!(r#"{{"unheard":[{list}]}}"#)),
        ("3 MB of opening and closing", format!("{}{}", "[".repeat(1_500_000), "]".repeat(1_500_000))),
        (
            "3 MB of one text",
            format!(r#"{{"messages":[{{"id":"m","text":"{}"}}]}}"#, "x\\u00e9 ".repeat(375_000)),
        ),
    ] {
        let body =
            format!(r#"{{"entry":[{{"id":"1","changes":[{{"field":"messages","value":{value}}}]}}]}}"#);
        measure(what, body.len(), || split(black_box(body.as_bytes())).events.len());
    }
    let secret = AppSecret::new("app", "dd1a2bc3e4f5061728394a5b6c7d8e9f")?;
    let body = compose("text", &parts).unwrap_or_default();
    let header = sign(&secret, body.as_bytes()).sha256;
    measure("sign (both)", body.len(), || sign(&secret, black_box(body.as_bytes())).sha256.len());
    let secrets = AppSecrets::from(secret);
    measure("verify", body.len(), || {
        usize::from(secrets.verify([header.as_bytes()], black_box(body.as_bytes())).is_ok())
    });
    Ok(())
}

/// The best of several rounds: what the work itself costs.
fn measure(what: &str, bytes: usize, mut work: impl FnMut() -> usize) {
    let rounds = (20_000_000 / bytes).clamp(3, 20_000);
    let mut best = f64::INFINITY;
    let mut result = 0;
    for _ in 0..7 {
        let start = Instant::now();
        for _ in 0..rounds {
            result = black_box(work());
        }
        best = best.min(start.elapsed().as_secs_f64() / rounds as f64);
    }
    println!("{what:32} {bytes:>9} bytes {:>12.3} us  ({result})", best * 1e6);
}
