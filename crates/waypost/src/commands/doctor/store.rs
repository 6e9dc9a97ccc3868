//! The store: asked through the running server, else looked at as it lies there.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use tokio::time::timeout;
use waypost_domain::Clock;

use super::finding::Finding;
use super::reach::millis;
use super::speak::{Silence, exchange};
use crate::socket;

const CHECK: &str = "store";
/// How long the running server may take to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(6);
/// How every SQLite database begins (SQLite, "Database File Format", section 1.3).
const MAGIC: &[u8] = b"SQLite format 3\0";

/// What the server in a data directory says.
pub(super) enum Running {
    /// It answers: whether it is ready, and its receivers.
    Yes { ready: Result<Duration, String>, destinations: Vec<Value> },
    /// None runs.
    No,
    /// One seems to run and does not answer.
    Mute(String),
}

/// Asks the server that serves this data directory, if one does.
pub(super) async fn ask_running(data_dir: &Path, clock: &Clock) -> Running {
    let began = clock.monotonic();
    let (status, body) = match ask(data_dir, "/readyz").await {
        Ok(answer) => answer,
        Err(Deaf::Nobody) => return Running::No,
        Err(Deaf::Mute(what)) => return Running::Mute(what),
    };
    let ready = if status == StatusCode::OK {
        Ok(clock.monotonic().saturating_sub(began))
    } else {
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        Err(said["code"].as_str().unwrap_or("without saying why").to_owned())
    };
    let destinations = match ask(data_dir, "/api/v1/destinations").await {
        Ok((StatusCode::OK, body)) => {
            let mut said: Value = serde_json::from_slice(&body).unwrap_or_default();
            said["items"].as_array_mut().map(std::mem::take).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    Running::Yes { ready, destinations }
}

impl Running {
    /// Whether a server holds the store and its ports.
    pub(super) fn is_there(&self) -> bool {
        !matches!(self, Self::No)
    }

    /// Its receivers, as its API shows them.
    pub(super) fn destinations(&self) -> &[Value] {
        match self {
            Self::Yes { destinations, .. } => destinations,
            _ => &[],
        }
    }

    pub(super) fn findings(&self) -> Option<Finding> {
        match self {
            Self::No => Some(
                Finding::note(CHECK, "", "no server runs in this data directory")
                    .remedy("If one should: systemctl status waypost; or name its directory with --data"),
            ),
            Self::Mute(what) => Some(
                Finding::warning(
                    CHECK,
                    "",
                    format!("the server in this data directory cannot be asked: {what}"),
                )
                .why("Its store's health and its receivers are not known")
                .remedy("Run this command as the server's user, or as root"),
            ),
            Self::Yes { ready: Ok(took), .. } => Some(Finding::ok(
                CHECK,
                "",
                format!("the running server can write, and said so in {}", millis(*took)),
            )),
            Self::Yes { ready: Err(code), .. } => Some(
                Finding::fault(CHECK, "", format!("the running server is not ready: {code}"))
                    .why("Meta is answered 503, and sends its events again for up to seven days")
                    .remedy("docs/errors.md says what the code means; the server's log says more"),
            ),
        }
    }
}

enum Deaf {
    Nobody,
    Mute(String),
}

async fn ask(data_dir: &Path, path: &str) -> Result<(StatusCode, Bytes), Deaf> {
    let stream = socket::connect(data_dir).await.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Deaf::Mute(error.to_string()),
        _ => Deaf::Nobody,
    })?;
    let request = Request::builder().uri(path).header(HOST, "waypost").body(Full::new(Bytes::new()));
    let request = request.map_err(|error| Deaf::Mute(error.to_string()))?;
    match timeout(ANSWER_TIME_MAX, exchange(stream, request)).await {
        Ok(Ok((status, _, body))) => Ok((status, body)),
        Ok(Err(Silence::Cut(what))) => Err(Deaf::Mute(what)),
        Ok(Err(Silence::TooSlow)) | Err(_) => Err(Deaf::Mute("it does not answer in time".to_owned())),
    }
}

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
