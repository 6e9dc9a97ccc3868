//! `[stream]`: who may read the real-time stream, and from where.

use std::fmt;

use rustls::pki_types::SubjectPublicKeyInfoDer;

use super::finding::shown;
use super::forms::Wrong;
use super::loading::Loading;
use super::pem;
use super::secret::{self, Secret};
use super::section::{Read, Section, boolean, just, list, one_or_list, private, text};

/// `[stream]`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Stream {
    /// Whether the public listeners serve it too.
    pub(crate) public: bool,
    /// The pages' origins that browsers may read it from; serialised as browsers send them (RFC 6454, section 6.2).
    pub(crate) allowed_origins: Vec<String>,
    /// Secrets of others who issue tokens, HS256.
    pub(crate) token_secrets: Vec<Secret>,
    /// Public keys of others who issue tokens, EdDSA.
    pub(crate) token_public_keys: Vec<PublicKey>,
    /// Whom tokens must be meant for.
    pub(crate) audience: String,
}

/// An Ed25519 public key and where it came from.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    /// The file as written.
    label: String,
    /// The key alone (RFC 8032, section 5.1.5).
    pub(crate) bytes: [u8; 32],
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.label)
    }
}

/// What the file says of it.
#[derive(Default)]
pub(super) struct Draft {
    public: Read<bool>,
    allowed_origins: Read<Vec<String>>,
    token_secrets: Read<Vec<Secret>>,
    token_public_keys: Read<Vec<PublicKey>>,
    audience: Read<String>,
}

/// Reads the section.
pub(super) fn read(mut section: Section<'_>, loading: &mut Loading<'_>) -> Draft {
    let secret = || private(token_secret);
    let draft = Draft {
        public: section.read("public", loading, boolean),
        allowed_origins: section.read("allowed_origins", loading, list(text(page_origin))),
        token_secrets: section.read("token_secrets", loading, one_or_list(just(secret()), secret())),
        token_public_keys: section.read(
            "token_public_keys",
            loading,
            list(private(|text, _, loading| public_key(text, loading))),
        ),
        audience: section.read("audience", loading, text(audience)),
    };
    section.finish(loading);
    draft
}

/// The section with its defaults.
pub(super) fn compose(draft: Draft, loading: &mut Loading<'_>) -> Option<Stream> {
    bounded(&draft.token_secrets, loading);
    bounded(&draft.token_public_keys, loading);
    Some(Stream {
        public: draft.public.or(false)?,
        allowed_origins: draft.allowed_origins.or(Vec::new())?,
        token_secrets: draft.token_secrets.or(Vec::new())?,
        token_public_keys: draft.token_public_keys.or(Vec::new())?,
        audience: draft.audience.or(AUDIENCE.to_owned())?,
    })
}

/// Every key is tried on every token that does not say which it is of.
fn bounded<T>(keys: &Read<Vec<T>>, loading: &mut Loading<'_>) {
    if let Some((keys, place)) = keys.given()
        && keys.len() > KEYS_MAX
    {
        let what = format!("there are {} of them", keys.len());
        loading.fault(place.clone(), what, format!("Give at most {KEYS_MAX}"));
    }
}

/// A page's origin as browsers send it: scheme, host and port, without a slash at the end.
fn page_origin(text: &str) -> Result<String, Wrong> {
    const REMEDY: &str = "Write scheme and host as browsers send them, like https://inbox.example.com";
    let origin = text.to_ascii_lowercase();
    let wrong = |what: String| Err(Wrong::new(what, REMEDY));
    let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let Some(authority) = rest else {
        return wrong(format!("{} is not the origin of a page", shown(text)));
    };
    if authority.contains(['/', '?', '#', '@']) {
        return wrong(format!("{} says more than an origin", shown(text)));
    }
    let default = if origin.starts_with("https://") { ":443" } else { ":80" };
    match authority.parse::<waypost_domain::UpstreamHost>() {
        // Browsers leave the usual port out.
        Ok(_) => Ok(origin.strip_suffix(default).map(str::to_owned).unwrap_or(origin)),
        Err(error) => wrong(format!("{} is not the origin of a page: {error}", shown(text))),
    }
}

/// A secret that signs tokens: as long as its hash, as RFC 7518, section 3.2, demands.
fn token_secret(text: &str, key: &str, loading: &mut Loading<'_>) -> Result<Secret, Wrong> {
    let secret = secret::of_key(text, key, loading)?;
    if secret.expose().len() < TOKEN_SECRET_BYTES_MIN {
        return Err(Wrong::new(
            format!(
                "the secret has fewer than {TOKEN_SECRET_BYTES_MIN} bytes: whoever holds a token could guess it"
            ),
            "Make one with `openssl rand -hex 32`",
        ));
    }
    Ok(secret)
}

fn public_key(text: &str, loading: &mut Loading<'_>) -> Result<PublicKey, Wrong> {
    let (path, key): (_, SubjectPublicKeyInfoDer<'static>) = pem::item(text, loading, "public key")?;
    // An Ed25519 key's SubjectPublicKeyInfo is this and the key (RFC 8410, sections 3 and 4).
    const ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    match key.strip_prefix(&ED25519).map(<[u8; 32]>::try_from) {
        Some(Ok(bytes)) => Ok(PublicKey { label: text.to_owned(), bytes }),
        _ => Err(Wrong::new(
            format!("{} is not an Ed25519 key", shown(&path.to_string_lossy())),
            "Make a pair with `openssl genpkey -algorithm ed25519` and name its public half (`openssl pkey -pubout`)",
        )),
    }
}

fn audience(text: &str) -> Result<String, Wrong> {
    if text.is_empty() || text.len() > AUDIENCE_BYTES_MAX {
        return Err(Wrong::new(
            format!("{} is no audience", shown(text)),
            "Write what the `aud` of tokens says, like waypost",
        ));
    }
    Ok(text.to_owned())
}

/// The audience where nobody names one.
const AUDIENCE: &str = "waypost";
/// Longest audience.
const AUDIENCE_BYTES_MAX: usize = 256;
/// Shortest secret of a token.
const TOKEN_SECRET_BYTES_MIN: usize = 32;
/// Secrets, and public keys, that others may issue tokens with.
const KEYS_MAX: usize = 16;
