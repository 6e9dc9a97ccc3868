//! Secrets come from where they are said to be, and never come out.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;

use super::super::secret::resolve;
use super::super::{Env, Inputs, load};
use super::{Folder, stands};

fn inputs(folder: &Folder, keys: &str) -> Inputs {
    let mut inputs = folder.inputs(format!("[[upstream]]\nhost = \"a.example\"\n{keys}"));
    inputs.env = Env::fixed([("APP_SECRET", "from-env"), ("EMPTY", ""), ("BLANK", " padded ")]);
    inputs
}

#[test]
fn secrets_come_from_the_text_a_variable_or_a_file() {
    let folder = Folder::new();
    folder.write("secret", "from-file\r\n");
    let config = stands(&inputs(
        &folder,
        "app_secrets = [\"env:APP_SECRET\", \"file:secret\", \"written-out\", \"https://not.a.pointer\"]\nverify_token = \"file:secret\"",
    ));
    let upstream = &config.upstreams[0];
    let secrets: Vec<_> =
        upstream.app_secrets.iter().map(|secret| (secret.label(), secret.expose())).collect();
    assert_eq!(
        secrets,
        [
            ("env:APP_SECRET", "from-env"),
            ("file:secret", "from-file"),
            ("upstream[0].app_secrets[2]", "written-out"),
            ("upstream[0].app_secrets[3]", "https://not.a.pointer"),
        ]
    );
    assert_eq!(upstream.verify_tokens[0].expose(), "from-file");
}

#[test]
fn a_verify_token_is_one_or_several_and_no_app_secrets_are_fine() {
    let folder = Folder::new();
    let tokens = |keys: &str| stands(&inputs(&folder, keys)).upstreams.remove(0).verify_tokens.len();
    assert_eq!(tokens("verify_token = \"one\""), 1);
    assert_eq!(tokens("verify_token = [\"one\", \"two\"]"), 2);
    assert_eq!(tokens("app_secrets = []"), 0);
    assert_eq!(stands(&inputs(&folder, "app_secrets = \"one\"")).upstreams[0].app_secrets.len(), 1);
}

#[test]
fn a_secret_that_is_empty_unset_or_too_long_is_a_fault() {
    let folder = Folder::new();
    folder.write("empty", "\n");
    folder.write("binary", [0xff, 0xfe]);
    folder.write("long", "x".repeat(1025));
    for (value, what) in [
        ("", "the secret is empty. Write the secret, env:NAME or file:PATH; remove the entry to have none."),
        ("env:", "`env:` names no variable. Write env:NAME."),
        (
            "env:UNSET",
            "the variable `UNSET` is not set or empty. Set it in the environment that Waypost is started in.",
        ),
        (
            "env:EMPTY",
            "the variable `EMPTY` is not set or empty. Set it in the environment that Waypost is started in.",
        ),
        ("env:BLANK", "the secret begins or ends with a space or a line break. Remove it."),
        ("file:", "`file:` names no file. Write file:PATH."),
        (
            "file:gone",
            "the secret's file `gone` cannot be read: there is no such file. Name a file that this user may read.",
        ),
        (
            "file:empty",
            "the secret is empty. Write the secret, env:NAME or file:PATH; remove the entry to have none.",
        ),
        ("file:binary", "the secret's file `binary` is not UTF-8 text. Put the secret alone into it."),
        ("file:long", "the secret is longer than 1 KiB. Give the secret alone."),
        (&"x".repeat(1025), "the secret is longer than 1 KiB. Give the secret alone."),
    ] {
        for key in ["verify_token", "app_secrets"] {
            let refused = load(&inputs(&folder, &format!("{key} = \"{value}\""))).unwrap_err();
            // The path of a secret's file is shown whole, and cut where it is long.
            let line = folder.lines(&refused.faults).join("\n");
            let column = key.len() + 4;
            if value.starts_with("file:gone") || value.starts_with("file:binary") {
                let (before, _) = what.split_once('`').unwrap();
                assert!(
                    line.starts_with(&format!("waypost.toml:3:{column}: upstream[0].{key}: {before}")),
                    "{line}"
                );
            } else {
                assert_eq!(line, format!("waypost.toml:3:{column}: upstream[0].{key}: {what}"));
            }
        }
    }
}

#[test]
fn a_variable_that_is_no_text_is_a_fault() {
    let folder = Folder::new();
    let mut inputs = inputs(&folder, "app_secrets = [\"env:ODD\"]");
    let odd = OsString::from_vec(vec![0xff]);
    inputs.env = Env::Fixed([("ODD".to_owned(), odd.clone()), ("WAYPOST_DOMAIN".to_owned(), odd)].into());
    let faults = folder.lines(&load(&inputs).unwrap_err().faults);
    assert_eq!(
        faults,
        [
            "WAYPOST_DOMAIN: the variable is not UTF-8 text. Give it as plain text.",
            "waypost.toml:3:16: upstream[0].app_secrets[0]: the variable `ODD` is not UTF-8 text. Give the secret as plain text.",
        ]
    );
}

#[test]
fn no_secret_is_ever_shown() {
    const HIDDEN: &str = "hunter2hunter2";
    let folder = Folder::new();
    folder.write("secret", HIDDEN);
    let mut good = inputs(
        &folder,
        &format!(
            "app_secrets = [\"{HIDDEN}\", \"env:HIDDEN\", \"file:secret\"]\nverify_token = \"{HIDDEN}\""
        ),
    );
    good.env = Env::fixed([("HIDDEN", HIDDEN)]);
    let loaded = load(&good).unwrap();
    assert_eq!(loaded.config.upstreams[0].app_secrets[2].expose(), HIDDEN);
    assert!(!format!("{loaded:?} {loaded:#?} {good:?}").contains(HIDDEN));
    // Nor where it stands in the wrong way or the wrong place.
    folder.write("padded", format!(" {HIDDEN}"));
    for keys in [
        format!("verify_token = \" {HIDDEN} \""),
        format!("verify_token = \"{}\"", HIDDEN.repeat(100)),
        "verify_token = \"file:padded\"".to_owned(),
        format!("app_secrets = [[\"{HIDDEN}\"]]"),
        format!("app_secrets = {{ a = \"{HIDDEN}\" }}"),
        format!("app_secrets = [\"{HIDDEN}\", 1]"),
        format!("app_secrets = \"{HIDDEN}"),
        format!("app_secrets = {HIDDEN}"),
        format!("verify_token = \"\\q{HIDDEN}\""),
        format!("origin = \"https://user:{HIDDEN}@a.example\""),
        format!("[storage]\nurl = \"postgres://user:{HIDDEN}@a.example/db\""),
        format!("[storage]\nurl = \"user:{HIDDEN}\""),
    ] {
        let refused = load(&inputs(&folder, &keys)).unwrap_err();
        let told = format!("{refused} {refused:?}");
        assert!(!told.contains(HIDDEN), "{keys}: {told}");
    }
    let json = format!("{{\"host\": \"a.example\", \"verify_token\": \"{HIDDEN}\" ");
    assert!(!super::upstream_of(&json, &Env::fixed([])).unwrap_err().contains(HIDDEN));
}

#[test]
fn a_commands_secret_is_said_or_pointed_to_as_in_the_file() {
    let folder = Folder::new();
    let path = folder.write("secret", "from-file\n");
    let env = Env::fixed([("APP_SECRET", "from-env")]);
    assert_eq!(resolve("written-out", &env).unwrap(), "written-out");
    assert_eq!(resolve("env:APP_SECRET", &env).unwrap(), "from-env");
    assert_eq!(resolve(&format!("file:{}", path.display()), &env).unwrap(), "from-file");
    assert!(resolve("env:UNSET", &env).unwrap_err().starts_with("the variable `UNSET` is not set"));
    assert!(resolve("", &env).is_err());
}

#[test]
fn secrets_that_every_user_may_read_are_warned_of() {
    let folder = Folder::new();
    let open =
        |name: &str| std::fs::set_permissions(folder.path(name), PermissionsExt::from_mode(0o644)).unwrap();
    folder.write("secret", "s3cr3t");
    let inputs = inputs(&folder, "app_secrets = [\"file:secret\", \"file:secret\"]");
    assert_eq!(load(&inputs).unwrap().warnings, []);
    open("secret");
    // The configuration file itself holds none, so it may be open.
    open("waypost.toml");
    let lines = folder.lines(&load(&inputs).unwrap().warnings);
    assert_eq!(
        lines,
        [
            "secret: the file holds a secret and every user of this machine may read it. Take the right away with chmod o-r."
        ]
    );
    let literal = folder.inputs("[[upstream]]\nhost = \"a.example\"\napp_secrets = [\"s3cr3t\"]");
    open("waypost.toml");
    let lines = folder.lines(&load(&literal).unwrap().warnings);
    assert!(lines[0].starts_with("waypost.toml: the file holds a secret"), "{lines:?}");
}
