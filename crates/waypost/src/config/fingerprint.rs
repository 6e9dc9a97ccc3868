//! Whether the files behind a configuration have changed since it was read.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::Hasher;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The content of some files at one moment; equal for equal content, whatever their times.
///
/// Content rather than times, so that swapped symbolic links and copies with kept times are noticed and
/// a bare `touch` is not. A file that cannot be read has a print too, so that its appearance is a change.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Fingerprint(BTreeMap<PathBuf, Print>);

/// One file's part: length and hash, or why it could not be read.
type Print = Result<(usize, u64), io::ErrorKind>;

/// Most bytes of one file that count.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024 + 1;

impl Fingerprint {
    /// The files as they are now. Blocks on the disk.
    pub(crate) fn of<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Self {
        let mut disk = Disk::default();
        for path in paths {
            // The print is taken either way.
            let _ = disk.read(path.as_ref(), FILE_BYTES_MAX);
        }
        disk.into_fingerprint()
    }

    /// The same files as they are now. Blocks on the disk.
    pub(crate) fn renewed(&self) -> Self {
        Self::of(self.paths())
    }

    /// These files and those of another, as each was seen; of one in both, as the other saw it.
    pub(crate) fn joined(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The files it covers.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }
}

/// The one door to files while a configuration is loaded: what goes through it is in the fingerprint.
#[derive(Default)]
pub(super) struct Disk(Fingerprint);

/// A file as it was read.
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    /// Whether every user of the machine may read it.
    pub(super) world_readable: bool,
}

impl Disk {
    /// The whole file, or in a few words why it cannot be had.
    pub(super) fn read(&mut self, path: &Path, bytes_max: u64) -> Result<Content, String> {
        let read = read_bounded(path);
        let print = match &read {
            Ok(content) => Ok((content.bytes.len(), hash(&content.bytes))),
            Err(error) => Err(error.kind()),
        };
        self.0.0.insert(path.to_path_buf(), print);
        let content = read.map_err(|error| why(&error))?;
        if content.bytes.len() as u64 > bytes_max {
            return Err(format!("it is larger than {} KiB", bytes_max / 1024));
        }
        Ok(content)
    }

    pub(super) fn into_fingerprint(self) -> Fingerprint {
        self.0
    }
}

fn read_bounded(path: &Path) -> io::Result<Content> {
    let file = File::open(path)?;
    let world_readable = world_readable(&file.metadata()?);
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Content { bytes, world_readable })
}

#[cfg(unix)]
fn world_readable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.is_file() && metadata.mode() & 0o004 != 0
}

#[cfg(not(unix))]
fn world_readable(_: &std::fs::Metadata) -> bool {
    false
}

/// SipHash under fixed keys: the same in every process, and only compared with itself.
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        _ => error.to_string(),
    }
}
