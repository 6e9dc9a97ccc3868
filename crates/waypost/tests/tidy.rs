//! Promises about the repository itself: who may know whom, and that the documents keep up with the code.

#![expect(clippy::expect_used, reason = "what is not as expected fails the test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The rooms, and which of the others each may use, as docs/ARCHITECTURE.md says.
const ROOMS: &[(&str, &[&str])] = &[
    ("waypost-domain", &[]),
    ("waypost-whatsapp", &[]),
    ("waypost-outbound", &["waypost-domain"]),
    ("waypost-store", &["waypost-domain"]),
    ("waypost-acme", &["waypost-domain", "waypost-outbound"]),
    ("waypost-edge", &["waypost-domain", "waypost-outbound"]),
    ("waypost-engine", &["waypost-domain", "waypost-outbound", "waypost-store", "waypost-whatsapp"]),
    (
        "waypost",
        &[
            "waypost-acme",
            "waypost-domain",
            "waypost-edge",
            "waypost-engine",
            "waypost-outbound",
            "waypost-store",
            "waypost-whatsapp",
        ],
    ),
];

/// Crates that the pure rooms must not use.
const IMPURE: &[&str] = &["tokio", "hyper", "rusqlite", "tracing"];

/// Longest source file; one table of data is longer.
const LINES_MAX: usize = 700;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository's root")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below `folder` with one of these endings, build output aside.
fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", ".git", "corpus", "results", "node_modules"].contains(&name.as_str()) {
                files(&path, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&root(), &[".rs"], &mut found);
    assert!(found.len() > 50, "only {} source files were found", found.len());
    found
}

#[test]
fn dependencies_point_one_way() {
    for (room, may_use) in ROOMS {
        let manifest: toml::Table =
            read(&root().join("crates").join(room).join("Cargo.toml")).parse().expect("a manifest");
        let used: Vec<&String> = manifest["dependencies"].as_table().expect("dependencies").keys().collect();
        for name in used {
            assert!(!name.starts_with("waypost") || may_use.contains(&name.as_str()), "{room} uses {name}");
            let pure = may_use.is_empty();
            assert!(!pure || !IMPURE.contains(&name.as_str()), "{room} is pure and uses {name}");
        }
    }
    let crates = std::fs::read_dir(root().join("crates")).expect("crates").count();
    assert_eq!(crates, ROOMS.len(), "a room that this test does not know");
}

#[test]
fn no_file_outgrows_its_room() {
    for path in sources() {
        let lines = read(&path).lines().count();
        let is_data = path.ends_with("compose/templates.rs");
        assert!(lines <= LINES_MAX || is_data, "{} has {lines} lines", path.display());
    }
}

#[test]
fn nothing_is_left_open() {
    let marks = ["TODO", "FIXME", "XXX"];
    for path in sources().into_iter().filter(|path| !path.ends_with("tests/tidy.rs")) {
        let text = read(&path);
        for mark in marks {
            assert!(!text.contains(mark), "{} says {mark}", path.display());
        }
    }
}

/// Codes that the code can say: in these files, lower-case words with an underscore that stand as the value
/// of a match arm or an argument.
fn codes() -> BTreeSet<String> {
    let places = [
        "crates/waypost-edge/src/refusal.rs",
        "crates/waypost-domain/src/attempt.rs",
        "crates/waypost-domain/src/judgement.rs",
        "crates/waypost-store/src/error.rs",
        "crates/waypost/src/admin/problem.rs",
        "crates/waypost/src/admin/token.rs",
        "crates/waypost/src/streaming/access.rs",
        "crates/waypost/src/streaming/ask.rs",
        "crates/waypost/src/streaming/evidence.rs",
        "crates/waypost/src/streaming/mod.rs",
        "crates/waypost/src/streaming/origins.rs",
        "crates/waypost/src/streaming/pages.rs",
        "crates/waypost/src/streaming/readers.rs",
        "crates/waypost/src/streaming/sse.rs",
        "crates/waypost/src/streaming/tokens/mod.rs",
    ];
    let mut codes = BTreeSet::new();
    for place in places {
        let text = read(&root().join(place));
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for piece in text.split('"').skip(1).step_by(2) {
            let plain = piece.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            if plain && piece.contains('_') {
                codes.insert(piece.to_owned());
            }
        }
    }
    assert!(codes.len() > 40, "only {} codes were found", codes.len());
    codes
}

#[test]
fn every_error_code_is_documented() {
    let page = read(&root().join("docs/errors.md"));
    for code in codes() {
        assert!(page.contains(&format!("`{code}`")), "docs/errors.md does not know `{code}`");
    }
}

#[test]
fn every_configuration_key_is_documented() {
    let page = read(&root().join("docs/configuration.md"));
    let example = read(&root().join("crates/waypost/waypost.example.toml"));
    let keys = example.lines().filter_map(|line| {
        let line = line.strip_prefix('#').unwrap_or(line);
        let (key, _) = line.split_once(" = ")?;
        key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_').then_some(key)
    });
    let keys: BTreeSet<&str> = keys.collect();
    assert!(keys.len() > 15, "only {keys:?} were found");
    for key in keys {
        let known = page.contains(&format!("`{key}`")) || page.contains(&format!(".{key}`"));
        assert!(known, "docs/configuration.md does not know `{key}`");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut pages = Vec::new();
    files(&root(), &[".md"], &mut pages);
    let mut links = 0;
    for page in pages {
        let text = read(&page);
        for rest in text.split("](").skip(1) {
            let target = rest.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            links += 1;
            let path = page.parent().expect("a folder").join(target);
            assert!(path.exists(), "{} links to {target}", page.display());
        }
    }
    assert!(links > 10, "only {links} links were found");
}
