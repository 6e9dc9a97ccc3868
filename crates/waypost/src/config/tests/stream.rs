//! Who may read the stream, as the file says it.

use super::super::Format;
use super::Folder;

#[test]
fn the_stream_is_for_operators_alone_unless_somebody_says_otherwise() {
    let stream = Folder::new().load("").unwrap().config.stream;
    assert!(!stream.public && stream.allowed_origins.is_empty());
    assert!(stream.token_secrets.is_empty() && stream.token_public_keys.is_empty());
    assert_eq!(stream.audience, "waypost");
}

#[test]
fn origins_are_as_browsers_send_them() {
    let text = "[stream]\nallowed_origins = [\"https://Inbox.example.com:443\", \"http://localhost:5173\", \"http://127.0.0.1\"]";
    let stream = Folder::new().load(text).unwrap().config.stream;
    let expected = ["https://inbox.example.com", "http://localhost:5173", "http://127.0.0.1"];
    assert_eq!(stream.allowed_origins, expected);
}

#[test]
fn faults_of_the_stream_have_their_place_and_no_word_of_a_secret() {
    let folder = Folder::new();
    folder.certify("certificate.pem", "key.pem");
    let long = (0..17).map(|_| "\"0123456789abcdef0123456789abcdef\"").collect::<Vec<_>>().join(", ");
    for (text, expected) in [
        ("publik = true", "stream.publik: there is no such key. Did you mean public?"),
        ("public = \"yes\"", "stream.public: a text where true or false is expected"),
        ("allowed_origins = [\"*\"]", "stream.allowed_origins[0]: `*` is not the origin of a page"),
        ("allowed_origins = [\"https://a.example/\"]", "says more than an origin"),
        ("allowed_origins = [\"a.example\"]", "is not the origin of a page"),
        ("token_secrets = \"hunter2 and some\"", "stream.token_secrets: the secret has fewer than 32 bytes"),
        ("token_secrets = [\"env:NOWHERE\"]", "the variable `NOWHERE` is not set"),
        ("token_public_keys = [\"none.pem\"]", "stream.token_public_keys[0]: `none.pem` cannot be read"),
        ("token_public_keys = [\"certificate.pem\"]", "holds no public key that could be read"),
        ("audience = \"\"", "stream.audience: `` is no audience"),
    ] {
        let faults = folder.faults(format!("[stream]\n{text}")).join("\n");
        assert!(faults.contains(expected), "{text}: {faults}");
        assert!(!faults.contains("hunter2"), "{faults}");
    }
    let faults = folder.faults(format!("[stream]\ntoken_secrets = [{long}]"));
    assert!(faults[0].contains("there are 17 of them"), "{faults:?}");
}

#[test]
fn normalised_events_go_one_at_a_time_to_who_understands_them() {
    let folder = Folder::new();
    let with = |keys: &str| {
        format!("[[destination]]\nname = \"a\"\nurl = \"https://a.example/x\"\nformat = \"event\"\n{keys}")
    };
    let faults = folder.faults(with("batches = \"whole\"\nkind = \"chatwoot\"")).join("\n");
    assert!(faults.contains("one at a time") && faults.contains("Chatwoot understands"), "{faults}");
    let loaded = folder.load(with("")).unwrap();
    let destination = &loaded.config.destinations[0];
    assert_eq!(
        (destination.format, &destination.sign_with),
        (Format::Event, &super::super::SignWith::Nothing)
    );
    let warnings = folder.lines(&loaded.warnings).join("\n");
    assert!(warnings.contains("bear no signature"), "{warnings}");
    let signed = with("webhook_secrets = [\"whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=\"]");
    assert!(!folder.lines(&folder.load(signed).unwrap().warnings).join("\n").contains("signature"));
    let faults = folder.faults(with("").replace("\"event\"", "\"events\""));
    assert!(faults[0].contains("`events` is not a format"), "{faults:?}");
}
