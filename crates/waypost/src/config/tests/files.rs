//! Certificates and keys are looked at before they are needed, and changes are noticed.

use super::super::{Fingerprint, load};
use super::{Folder, stands};

const HTTPS: &str =
    "[server]\nhttps = \"127.0.0.1:0\"\n[tls]\ncertificate = \"cert.pem\"\nprivate_key = \"key.pem\"\n";

#[test]
fn certificate_files_that_cannot_serve_are_faults() {
    let folder = Folder::new();
    folder.certify("cert.pem", "key.pem");
    stands(&folder.inputs(HTTPS));
    let certificate = std::fs::read(folder.path("cert.pem")).unwrap();
    let key = std::fs::read(folder.path("key.pem")).unwrap();

    std::fs::remove_file(folder.path("cert.pem")).unwrap();
    let faults = folder.faults(HTTPS);
    assert!(
        faults[0].starts_with("waypost.toml:4:15: tls.certificate: `")
            && faults[0].contains("there is no such file"),
        "{faults:?}"
    );
    assert_eq!(faults.len(), 1);

    folder.write("cert.pem", &key);
    folder.write("key.pem", &certificate);
    let faults = folder.faults(HTTPS);
    assert!(
        faults[0].starts_with("waypost.toml:4:15: tls.certificate: ")
            && faults[0].contains("holds no certificate"),
        "{faults:?}"
    );
    assert!(
        faults[1].starts_with("waypost.toml:5:15: tls.private_key: ")
            && faults[1].contains("holds no private key"),
        "{faults:?}"
    );

    folder.write("cert.pem", &certificate);
    folder.certify("other.pem", "key.pem");
    assert_eq!(
        folder.faults(HTTPS),
        [
            "waypost.toml:5:15: tls.private_key: the private key is not that of the certificate. Name the key that the certificate was made for; the certificate itself comes first in its file."
        ]
    );

    folder.write("cert.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert!(folder.faults(HTTPS)[0].contains("the certificate and its private key cannot be used"));
}

#[test]
fn half_a_certificate_is_a_fault() {
    let folder = Folder::new();
    folder.certify("cert.pem", "key.pem");
    assert_eq!(
        folder.faults("[tls]\ncertificate = \"cert.pem\""),
        ["waypost.toml:2:15: tls.certificate: the certificate has no private key. Give private_key too."]
    );
    assert_eq!(
        folder.faults("[tls]\nprivate_key = \"key.pem\""),
        ["waypost.toml:2:15: tls.private_key: the private key has no certificate. Give certificate too."]
    );
    folder.certify("cert.pem", "key.pem");
    assert_eq!(
        folder.faults(
            "[server]\ndomain = \"a.example\"\n[tls]\ncertificate = \"cert.pem\"\nprivate_key = \"key.pem\"\nacme_email = \"ops@a.example\""
        ),
        [
            "waypost.toml:6:14: tls.acme_email: certificates come from files and from an authority. Remove acme_email, or certificate and private_key."
        ]
    );
}

#[test]
fn extra_trust_that_is_none_is_a_fault() {
    let folder = Folder::new();
    let text = "[[upstream]]\nhost = \"a.example\"\nca_file = \"ca.pem\"";
    assert!(folder.faults(text)[0].contains("there is no such file"));
    folder.write("ca.pem", "nothing here");
    assert!(folder.faults(text)[0].contains("holds no certificate that could be read"));
    folder.write("ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert!(folder.faults(text)[0].contains("holds a certificate that could not be read"));
    folder.certify("ca.pem", "key.pem");
    let held = || stands(&folder.inputs(text)).upstreams[0].ca_file.clone().unwrap();
    let first = held();
    assert_eq!((&first.path, first.roots.len()), (&folder.path("ca.pem"), 1));
    assert_eq!(held(), first);
    folder.certify("ca.pem", "key.pem");
    assert_ne!(held(), first, "another content is another value");
}

#[test]
fn a_change_in_any_file_behind_the_configuration_is_noticed() {
    let folder = Folder::new();
    folder.certify("cert.pem", "key.pem");
    folder.certify("ca.pem", "ca-key.pem");
    folder.write("secret", "one");
    let text = format!(
        "{HTTPS}[[upstream]]\nhost = \"a.example\"\nca_file = \"ca.pem\"\napp_secrets = [\"file:secret\"]\n"
    );
    let inputs = folder.inputs(&text);
    let fingerprint = load(&inputs).unwrap().fingerprint;
    let names: Vec<_> = fingerprint.paths().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["ca.pem", "cert.pem", "key.pem", "secret", "waypost.toml"]);
    assert_eq!(fingerprint.renewed(), fingerprint);
    assert_eq!(Fingerprint::of(fingerprint.paths()), fingerprint);
    for name in ["ca.pem", "cert.pem", "key.pem", "secret", "waypost.toml"] {
        let before = std::fs::read(folder.path(name)).unwrap();
        let modified = std::fs::metadata(folder.path(name)).unwrap().modified().unwrap();
        // The same length and the same time, as a copy that keeps times would have.
        let mut changed = before.clone();
        changed[0] ^= 1;
        folder.write(name, &changed);
        std::fs::File::options()
            .append(true)
            .open(folder.path(name))
            .unwrap()
            .set_modified(modified)
            .unwrap();
        assert_ne!(fingerprint.renewed(), fingerprint, "{name}");
        folder.write(name, &before);
        assert_eq!(fingerprint.renewed(), fingerprint, "{name} was only touched");
        std::fs::remove_file(folder.path(name)).unwrap();
        assert_ne!(fingerprint.renewed(), fingerprint, "{name} is gone");
        folder.write(name, &before);
    }
}

#[test]
fn a_missing_file_that_appears_is_a_change() {
    let folder = Folder::new();
    let inputs = folder.inputs("[[upstream]]\nhost = \"a.example\"\napp_secrets = [\"file:secret\"]\n");
    let refused = load(&inputs).unwrap_err();
    assert_eq!(refused.fingerprint.renewed(), refused.fingerprint);
    folder.write("secret", "now");
    assert_ne!(refused.fingerprint.renewed(), refused.fingerprint);
    stands(&inputs);
}
