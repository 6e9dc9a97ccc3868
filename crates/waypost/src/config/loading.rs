//! One loading in progress: what may be asked, and what was found so far.

use std::path::{Path, PathBuf};

use super::finding::{Finding, Place};
use super::fingerprint::Disk;
use super::forms::Wrong;
use super::inputs::Env;
use super::section::Read;
use super::{Config, Loaded, Made, Refused};

/// Faults listed; more are only counted.
const FAULTS_MAX: usize = 100;

/// What every reader is handed.
pub(super) struct Loading<'a> {
    /// Where variables are looked up.
    pub(super) env: &'a Env,
    /// The one door to files.
    pub(super) disk: Disk,
    folder: PathBuf,
    faults: Vec<Finding>,
    faults_more: usize,
    warnings: Vec<Finding>,
    literal_secrets: bool,
    world_readable: Vec<PathBuf>,
}

impl<'a> Loading<'a> {
    pub(super) fn of(env: &'a Env) -> Self {
        Self {
            env,
            disk: Disk::default(),
            folder: PathBuf::new(),
            faults: Vec::new(),
            faults_more: 0,
            warnings: Vec::new(),
            literal_secrets: false,
            world_readable: Vec::new(),
        }
    }

    /// Paths written in `file` are meant relative to its folder from now on.
    pub(super) fn within(&mut self, file: &Path) {
        self.folder = file.parent().map(Path::to_path_buf).unwrap_or_default();
    }

    /// The path as seen from the configuration file.
    pub(super) fn beside_the_file(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    pub(super) fn fault(&mut self, place: Place, what: impl AsRef<str>, remedy: impl AsRef<str>) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Finding::new(place, what, remedy));
        } else {
            self.faults_more += 1;
        }
    }

    pub(super) fn warn(&mut self, place: Place, what: impl AsRef<str>, remedy: impl AsRef<str>) {
        if self.warnings.len() < FAULTS_MAX {
            self.warnings.push(Finding::new(place, what, remedy));
        }
    }

    /// The value of a flag or a variable called `key`.
    pub(super) fn outside<T>(
        &mut self,
        key: &str,
        text: Option<&str>,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Read<T> {
        let Some(text) = text else { return Read::Absent };
        match parse(text) {
            Ok(value) => Read::Given(value, Place::outside(key)),
            Err(wrong) => {
                self.fault(Place::outside(key), wrong.what, wrong.remedy);
                Read::Faulty
            }
        }
    }

    /// The value of a `WAYPOST_*` variable.
    pub(super) fn variable<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, Wrong>) -> Read<T> {
        let Some(value) = self.env.look_up(name) else { return Read::Absent };
        let Some(text) = value.to_str() else {
            self.fault(Place::outside(name), "the variable is not UTF-8 text", "Give it as plain text");
            return Read::Faulty;
        };
        self.outside(name, Some(text), parse)
    }

    /// A secret stands in the configuration file itself.
    pub(super) fn literal_secret_seen(&mut self) {
        self.literal_secrets = true;
    }

    /// Whether a secret stands in the configuration file itself.
    pub(super) fn has_literal_secrets(&self) -> bool {
        self.literal_secrets
    }

    /// A file with a secret in it is open to every user of the machine.
    pub(super) fn world_readable_seen(&mut self, path: &Path) {
        if !self.world_readable.iter().any(|seen| seen == path) {
            self.world_readable.push(path.to_path_buf());
        }
    }

    /// One entry with nothing wrong and what is doubtful about it, or all faults in one text.
    pub(super) fn conclude_one<T>(mut self, entry: Option<T>) -> Result<Made<T>, String> {
        self.warn_of_open_files();
        match entry {
            Some(entry) if self.faults.is_empty() => {
                Ok(Made { entry, warnings: self.warnings, fingerprint: self.disk.into_fingerprint() })
            }
            _ => Err(self.faults.iter().map(Finding::to_string).collect::<Vec<_>>().join(" ")),
        }
    }

    /// The answer: the configuration if it could be composed and nothing is wrong.
    pub(super) fn conclude(mut self, config: Option<Config>) -> Result<Loaded, Refused> {
        self.warn_of_open_files();
        let fingerprint = self.disk.into_fingerprint();
        // Those without a position (flags and variables) first, then down the file.
        self.faults.sort_by_key(|fault| fault.place.at);
        self.warnings.sort_by_key(|warning| warning.place.at);
        match config {
            Some(config) if self.faults.is_empty() => {
                Ok(Loaded { config, warnings: self.warnings, fingerprint })
            }
            _ => Err(Refused {
                faults: self.faults,
                faults_more: self.faults_more,
                warnings: self.warnings,
                fingerprint,
            }),
        }
    }

    fn warn_of_open_files(&mut self) {
        for path in std::mem::take(&mut self.world_readable) {
            self.warn(
                Place { file: Some(path), at: None, key: String::new() },
                "the file holds a secret and every user of this machine may read it",
                "Take the right away with chmod o-r",
            );
        }
    }
}
