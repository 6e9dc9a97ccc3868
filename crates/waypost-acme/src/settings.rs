//! What is to be had, from whom, and who is asking.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls::pki_types::CertificateDer;
use waypost_domain::UpstreamHost;

use crate::challenges::ChallengeKind;
use crate::limits::{CERTIFICATES_MAX, NAMES_MAX};

/// Let's Encrypt.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Let's Encrypt's authority for tries; nobody believes its certificates.
pub const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// What is to be had, from whom, and who is asking. Having an account means agreeing to the authority's terms.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The authority's directory, an `https` address.
    pub directory: String,
    /// An e-mail address at which the authority may reach the operator.
    pub contact: Option<String>,
    /// The account elsewhere that this one is bound to, where the authority demands one.
    pub external_account: Option<ExternalAccount>,
    /// Roots believed for the authority's own address, besides the system's.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// Whether the authority may live at an address that is not public.
    pub allow_private: bool,
    /// The authority's profile to ask for, such as `shortlived`.
    pub profile: Option<String>,
    /// How names may be proved, by preference. After a failure the next one is tried.
    pub challenges: Vec<ChallengeKind>,
    /// The names of each certificate.
    pub certificates: Vec<Vec<String>>,
}

impl Settings {
    /// One certificate for these names from Let's Encrypt, proved in either way.
    pub fn new(names: Vec<String>) -> Self {
        Self {
            directory: LETS_ENCRYPT.to_owned(),
            contact: None,
            external_account: None,
            extra_roots: Vec::new(),
            allow_private: false,
            profile: None,
            challenges: vec![ChallengeKind::TlsAlpn01, ChallengeKind::Http01],
            certificates: vec![names],
        }
    }

    /// The same with names in lower case, sorted, each once.
    ///
    /// # Errors
    ///
    /// When they cannot stand, and why.
    pub fn checked(mut self) -> Result<Self, SettingsError> {
        let Some(rest) = self.directory.strip_prefix("https://") else {
            return Err(SettingsError::Directory { directory: self.directory });
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.parse::<UpstreamHost>().is_err() || self.directory.parse::<http::Uri>().is_err() {
            return Err(SettingsError::Directory { directory: self.directory });
        }
        if self.challenges.is_empty() {
            return Err(SettingsError::NoChallenge);
        }
        if self.certificates.len() > CERTIFICATES_MAX {
            return Err(SettingsError::TooManyCertificates);
        }
        for names in &mut self.certificates {
            for name in names.iter_mut() {
                name.make_ascii_lowercase();
                if !can_be_certified(name) {
                    return Err(SettingsError::Name { name: name.clone() });
                }
            }
            names.sort();
            names.dedup();
            if names.is_empty() || names.len() > NAMES_MAX {
                return Err(SettingsError::Names { count: names.len() });
            }
        }
        self.certificates.sort();
        self.certificates.dedup();
        Ok(self)
    }
}

/// Public authorities certify names with a dot that are no addresses.
fn can_be_certified(name: &str) -> bool {
    name.contains('.')
        && name.parse::<std::net::IpAddr>().is_err()
        && name.parse::<UpstreamHost>().is_ok_and(|host| host.port().is_none())
        && !name.contains('_')
}

/// An account elsewhere to which the authority binds its own (RFC 8555, section 7.3.4).
#[derive(Clone)]
pub struct ExternalAccount {
    pub(crate) key_id: String,
    pub(crate) key: Vec<u8>,
}

impl ExternalAccount {
    /// From the key's name and the key in base64url, as authorities hand them out.
    ///
    /// # Errors
    ///
    /// When the name is empty or the key is not base64url.
    pub fn new(key_id: &str, key: &str) -> Result<Self, SettingsError> {
        let plain: String = key
            .trim()
            .chars()
            .map(|c| match c {
                '+' => '-',
                '/' => '_',
                c => c,
            })
            .collect();
        let key = BASE64_URL_SAFE_NO_PAD.decode(plain.trim_end_matches('=')).unwrap_or_default();
        if key_id.trim().is_empty() || key.is_empty() {
            return Err(SettingsError::ExternalAccount);
        }
        Ok(Self { key_id: key_id.trim().to_owned(), key })
    }
}

impl std::fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExternalAccount").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// Settings that cannot stand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The directory is no https address.
    #[error("`{directory}` is not the https address of an ACME directory")]
    Directory {
        /// The address.
        directory: String,
    },
    /// No way to prove a name is allowed.
    #[error(
        "no way to prove a name is left: HTTP-01 needs plain HTTP on port 80, TLS-ALPN-01 needs HTTPS on port 443"
    )]
    NoChallenge,
    /// A name that no public authority certifies.
    #[error(
        "`{name}` cannot be certified: write a full name like proxy.example.com, no address and no wildcard"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// None or too many names for one certificate.
    #[error("a certificate needs between 1 and {NAMES_MAX} names, not {count}")]
    Names {
        /// How many there are.
        count: usize,
    },
    /// Too many certificates.
    #[error("at most {CERTIFICATES_MAX} certificates can be kept")]
    TooManyCertificates,
    /// The external account's name or key is none.
    #[error("the external account needs a key id, and a key in base64url")]
    ExternalAccount,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(names: &[&str]) -> Result<Settings, SettingsError> {
        Settings::new(names.iter().map(|name| (*name).to_owned()).collect()).checked()
    }

    #[test]
    fn only_names_that_an_authority_certifies_are_taken() {
        assert_eq!(
            with(&["B.example.com", "a.example.com", "b.example.com"]).unwrap().certificates[0].len(),
            2
        );
        for name in [
            "localhost",
            "203.0.113.1",
            "*.example.com",
            "a_b.example.com",
            "a.example.com:443",
            "",
            "x.example.",
        ] {
            assert!(with(&[name]).is_err(), "{name}");
        }
    }

    #[test]
    fn a_directory_is_an_https_address() {
        for directory in ["http://ca.test/dir", "ca.test", "https://", "https://a@b.test/dir", "https:///dir"]
        {
            let settings =
                Settings { directory: directory.to_owned(), ..Settings::new(vec!["a.test".to_owned()]) };
            assert!(settings.checked().is_err(), "{directory}");
        }
    }

    #[test]
    fn an_external_key_is_read_in_either_alphabet_and_never_shown() {
        let account = ExternalAccount::new(" kid-1 ", "-_8=").unwrap();
        assert_eq!(ExternalAccount::new("kid-1", "+/8").unwrap().key, account.key);
        assert!(!format!("{account:?}").contains("251"));
        assert!(ExternalAccount::new("kid", "not base64!").is_err());
    }
}
