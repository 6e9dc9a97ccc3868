//! The store as it lies there, while no server runs.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::finding::Finding;

const CHECK: &str = "store";
/// How every SQLite database begins (SQLite, "Database File Format", section 1.3).
const MAGIC: &[u8] = b"SQLite format 3\0";

/// The store as it lies there, without opening it.
pub(super) fn at_rest(path: &Path) -> Finding {
    let subject = path.display().to_string();
    match header(path) {
        Ok(None) => Finding::note(CHECK, subject, "there is none yet").why("It is made at the first start"),
        Ok(Some(Err(what))) => Finding::fault(CHECK, subject, what)
            .why("Waypost cannot start with it")
            .remedy("Restore the data directory from a backup, or move the file away to begin anew"),
        Ok(Some(Ok(bytes))) => Finding::ok(CHECK, subject, format!("lies there whole, {} MiB", bytes >> 20)),
        Err(error) => Finding::fault(CHECK, subject, format!("cannot be read: {error}"))
            .why("Waypost cannot start with it")
            .remedy("See that this is the user that the server runs as"),
    }
}

/// What is wrong with a store's file, judged by its first page; its size where nothing is. None where there is no file.
fn header(path: &Path) -> io::Result<Option<Result<u64, String>>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes = file.metadata()?.len();
    // Nothing was ever written: the first start fills it.
    if bytes == 0 {
        return Ok(None);
    }
    let mut head = [0; 100];
    if bytes < head.len() as u64 {
        return Ok(Some(Err("the file is too short to be a store".to_owned())));
    }
    file.read_exact(&mut head)?;
    if !head.starts_with(MAGIC) {
        return Ok(Some(Err("the file is no SQLite database".to_owned())));
    }
    let page = match u64::from(u16::from_be_bytes([head[16], head[17]])) {
        1 => 65_536,
        page => page,
    };
    if page < 512 || !page.is_power_of_two() {
        return Ok(Some(Err("the file's first page is damaged".to_owned())));
    }
    if bytes % page != 0 {
        return Ok(Some(Err(
            "the file does not end where a page does: it was cut off, or copied while it was written"
                .to_owned(),
        )));
    }
    Ok(Some(Ok(bytes)))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    #[test]
    fn a_damaged_store_is_told_from_a_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("waypost.db");
        assert_eq!(at_rest(&path).severity, Severity::Note);
        let mut whole = MAGIC.to_vec();
        whole.extend([0x10, 0x00]);
        whole.resize(8192, 0);
        let cut = whole[..8000].to_vec();
        let mut odd = whole.clone();
        odd[16] = 0x11;
        for (content, severity) in [
            (Vec::new(), Severity::Note),
            (b"hello".to_vec(), Severity::Fault),
            (vec![b'x'; 8192], Severity::Fault),
            (odd, Severity::Fault),
            (cut, Severity::Fault),
            (whole, Severity::Ok),
        ] {
            std::fs::write(&path, &content).unwrap();
            assert_eq!(at_rest(&path).severity, severity, "{} bytes", content.len());
        }
    }
}
