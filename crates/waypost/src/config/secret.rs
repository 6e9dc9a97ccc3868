//! Secrets, and where they come from: written out, in a variable, in a file.

use std::fmt;

use super::finding::shown;
use super::forms::Wrong;
use super::inputs::Env;
use super::loading::Loading;

/// Longest secret; Meta's app secrets have 32 characters.
const SECRET_BYTES_MAX: usize = 1024;
/// Largest file that a `file:` secret may come from.
const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

/// An app secret or a verify token. Never empty; shown only by its label.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret {
    label: String,
    value: String,
}

impl Secret {
    /// Where it was said, for people: `env:NAME`, `file:PATH`, or the key of one that was written out.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// The secret itself.
    pub(crate) fn expose(&self) -> &str {
        &self.value
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}, redacted)", self.label)
    }
}

/// The secret that `text`, given to a command, says or points to. Paths are relative to the working directory.
///
/// # Errors
///
/// What is wrong, without a word of the secret.
pub(crate) fn resolve(text: &str, env: &Env) -> Result<String, String> {
    match of_key(text, "", &mut Loading::of(env)) {
        Ok(secret) => Ok(secret.value),
        Err(wrong) => Err(format!("{}. {}", wrong.what, wrong.remedy)),
    }
}

/// The secret that `text`, the value of `key`, says or points to. No word of it is in what is said when it is wrong.
pub(super) fn of_key(text: &str, key: &str, loading: &mut Loading<'_>) -> Result<Secret, Wrong> {
    let (label, value) = match text.split_once(':') {
        Some(("env", name)) => (text.to_owned(), from_variable(name, loading)?),
        Some(("file", path)) => (text.to_owned(), from_file(path, loading)?),
        _ => {
            loading.literal_secret_seen();
            (key.to_owned(), text.to_owned())
        }
    };
    if value.is_empty() {
        return Err(Wrong::new(
            "the secret is empty",
            "Write the secret, env:NAME or file:PATH; remove the entry to have none",
        ));
    }
    if value.len() > SECRET_BYTES_MAX {
        return Err(Wrong::new("the secret is longer than 1 KiB", "Give the secret alone"));
    }
    if value.trim() != value {
        return Err(Wrong::new("the secret begins or ends with a space or a line break", "Remove it"));
    }
    Ok(Secret { label, value })
}

fn from_variable(name: &str, loading: &Loading<'_>) -> Result<String, Wrong> {
    if name.is_empty() {
        return Err(Wrong::new("`env:` names no variable", "Write env:NAME"));
    }
    let Some(value) = loading.env.look_up(name) else {
        return Err(Wrong::new(
            format!("the variable {} is not set or empty", shown(name)),
            "Set it in the environment that Waypost is started in",
        ));
    };
    value.into_string().map_err(|_| {
        Wrong::new(format!("the variable {} is not UTF-8 text", shown(name)), "Give the secret as plain text")
    })
}

fn from_file(path: &str, loading: &mut Loading<'_>) -> Result<String, Wrong> {
    if path.is_empty() {
        return Err(Wrong::new("`file:` names no file", "Write file:PATH"));
    }
    let path = loading.beside_the_file(path);
    let name = shown(&path.to_string_lossy());
    let read = loading.disk.read(&path, SECRET_FILE_BYTES_MAX).map_err(|why| {
        Wrong::new(
            format!("the secret's file {name} cannot be read: {why}"),
            "Name a file that this user may read",
        )
    })?;
    if read.world_readable {
        loading.world_readable_seen(&path);
    }
    let mut value = String::from_utf8(read.bytes).map_err(|_| {
        Wrong::new(format!("the secret's file {name} is not UTF-8 text"), "Put the secret alone into it")
    })?;
    value.truncate(value.trim_end_matches(['\n', '\r']).len());
    Ok(value)
}
