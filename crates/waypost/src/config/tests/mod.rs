//! The promises of the configuration, on real files.

mod entries;
mod example;
mod faults;
mod files;
mod layers;
mod secrets;
mod stream;
mod wild;

use std::path::PathBuf;

use super::{Config, Env, Finding, Inputs, Loaded, Made, Own, Refused, Upstream, load};

/// A folder with a `waypost.toml` in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file that only its owner may read.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    fn inputs(&self, text: impl AsRef<[u8]>) -> Inputs {
        let mut inputs = nothing();
        inputs.config_path = Some(self.write("waypost.toml", text));
        inputs
    }

    fn load(&self, text: impl AsRef<[u8]>) -> Result<Loaded, Refused> {
        load(&self.inputs(text))
    }

    /// A certificate of its own for `localhost`, and its key.
    fn certify(&self, certificate: &str, key: &str) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        self.write(certificate, made.cert.pem());
        self.write(key, made.signing_key.serialize_pem());
    }

    /// The text's faults as an operator reads them, without the folder's name.
    fn faults(&self, text: impl AsRef<[u8]>) -> Vec<String> {
        self.lines(&self.load(text).expect_err("the configuration was accepted").faults)
    }

    fn lines(&self, findings: &[Finding]) -> Vec<String> {
        let folder = format!("{}/", self.0.path().display());
        findings.iter().map(|finding| finding.to_string().replace(&folder, "")).collect()
    }
}

/// No flag, no variable, no file.
fn nothing() -> Inputs {
    Inputs::of(Env::fixed([]))
}

#[track_caller]
fn stands(inputs: &Inputs) -> Config {
    match load(inputs) {
        Ok(loaded) => loaded.config,
        Err(refused) => panic!("refused:\n{refused}"),
    }
}

/// An upstream made at run time, and what is doubtful about it.
fn upstream_of(settings: &str, env: &Env) -> Result<(Upstream, Vec<Finding>), String> {
    let Made { entry, warnings, .. } = super::upstream_of(settings, &Own::default(), env)?;
    Ok((entry, warnings))
}
