//! What it costs to prove, read, cut and sign: `cargo bench -p waypost-whatsapp`. Allocations of one run stand above
//! each time.

use std::error::Error;
use std::hint::black_box;

use criterion::Criterion;
use waypost_whatsapp::{AppSecret, AppSecrets, Compose, Cuts, canonical_json, compose, sign, split};

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = Criterion::default().configure_from_args();
    signature(&mut criterion)?;
    envelope(&mut criterion)?;
    identity(&mut criterion)?;
    split_and_sign(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

fn signature(criterion: &mut Criterion) -> Result<(), Box<dyn Error>> {
    for bytes in [571, 64 * 1024] {
        let body = vec![b'x'; bytes];
        let secret = secret()?;
        let header = sign(&secret, &body).sha256;
        let secrets = AppSecrets::from(secret.clone());
        measure(criterion, &format!("signature/verify {bytes} bytes"), || {
            secrets.verify([header.as_bytes()], black_box(&body)).is_ok()
        });
        measure(criterion, &format!("signature/sign {bytes} bytes, both headers"), || {
            sign(&secret, black_box(&body))
        });
    }
    Ok(())
}

fn envelope(criterion: &mut Criterion) -> Result<(), Box<dyn Error>> {
    for kind in ["text", "status.sent", "bsuid.parent", "call.connect", "template.approved", "unknown"] {
        let body = composed(kind, 1)?;
        measure(criterion, &format!("envelope/split {kind}"), || split(black_box(body.as_bytes())));
    }
    for size in [100, 1_000] {
        let body = composed("batch", size)?;
        measure(criterion, &format!("envelope/split batch of {size}"), || split(black_box(body.as_bytes())));
    }
    Ok(())
}

/// Keys made of ids are made while splitting; those of things without an id are the hash of one writing of the value,
/// which is what costs.
fn identity(criterion: &mut Criterion) -> Result<(), Box<dyn Error>> {
    let unknown = composed("unknown", 1)?;
    let batch = composed("batch", 100)?;
    for (what, body) in [("a small value", unknown), ("a batch of 100", batch)] {
        measure(criterion, &format!("identity key/canonical form of {what}"), || {
            canonical_json(black_box(&body))
        });
    }
    Ok(())
}

fn split_and_sign(criterion: &mut Criterion) -> Result<(), Box<dyn Error>> {
    let secret = secret()?;
    for size in [1, 100, 1_000] {
        let body = composed("batch", size)?;
        let body = body.as_bytes();
        measure(criterion, &format!("split and sign/find the cuts, batch of {size}"), || {
            Cuts::of(black_box(body))
        });
        let cuts = Cuts::of(body);
        let last = cuts.len() - 1;
        measure(criterion, &format!("split and sign/one event, batch of {size}"), || {
            let piece = cuts.one(black_box(body), last);
            (sign(&secret, &piece), piece)
        });
    }
    Ok(())
}

fn secret() -> Result<AppSecret, Box<dyn Error>> {
    Ok(AppSecret::new("app", "5b1f0c7e9a3d2846bb70e1d5c4f3a298")?)
}

fn composed(kind: &str, batch_size: usize) -> Result<String, Box<dyn Error>> {
    let parts = Compose { batch_size, ..Compose::default() };
    compose(kind, &parts).ok_or_else(|| format!("nothing composes {kind}").into())
}

/// Times the work, and says what one run of it allocates.
fn measure<T>(criterion: &mut Criterion, name: &str, mut work: impl FnMut() -> T) {
    // What is made once for the whole process is not the work's.
    drop(black_box(work()));
    let run = allocation_counter::measure(|| drop(black_box(work())));
    eprintln!("{name}: {} allocations, {} bytes", run.count_total, run.bytes_total);
    criterion.bench_function(name, |bencher| bencher.iter(&mut work));
}
