//! `[tls]`: what HTTPS shows, which is what files hold or what an authority certifies.

use std::net::SocketAddr;
use std::path::PathBuf;

use waypost_acme::{
    ChallengeKind, ExternalAccount, LETS_ENCRYPT, LETS_ENCRYPT_STAGING, Settings, SettingsError,
};

use super::file;
use super::finding::Place;
use super::loading::Loading;
use super::pem::{self, Chain, Key};
use super::section::Read;
use super::{CaFile, Secret};

/// Where the certificates that HTTPS shows come from.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Tls {
    /// From files.
    Files(TlsFiles),
    /// From an authority, by themselves.
    Acme(Acme),
}

/// PEM files that were there, could be read and belong together when the configuration was loaded.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct TlsFiles {
    /// The certificate chain, leaf first.
    pub(crate) certificate: PathBuf,
    /// The leaf's key.
    pub(crate) private_key: PathBuf,
}

/// Who is asked for certificates, and who asks.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Acme {
    /// Where the authority reaches the operator.
    pub(crate) email: String,
    /// The authority's directory.
    pub(crate) directory: String,
    /// Whether an operator named the directory, rather than the house: then it may be at a private address.
    pub(crate) directory_explicit: bool,
    /// Extra trust for the authority's own address.
    pub(crate) ca_file: Option<CaFile>,
    /// The account elsewhere that the authority binds its own to: its name and its key.
    pub(crate) external_account: Option<(String, Secret)>,
    /// Whether names can be proved over plain HTTP too.
    pub(crate) with_http: bool,
}

impl Acme {
    /// The certificates to be kept: one for each of these names, so that one that cannot be proved holds up no other.
    ///
    /// # Errors
    ///
    /// When that cannot stand.
    pub(crate) fn settings(&self, names: &[String]) -> Result<Settings, SettingsError> {
        let external_account = match &self.external_account {
            Some((id, key)) => Some(ExternalAccount::new(id, key.expose())?),
            None => None,
        };
        let mut challenges = vec![ChallengeKind::TlsAlpn01];
        if self.with_http {
            challenges.push(ChallengeKind::Http01);
        }
        let settings = Settings {
            directory: self.directory.clone(),
            contact: Some(self.email.clone()),
            external_account,
            extra_roots: self.ca_file.iter().flat_map(|file| file.roots.clone()).collect(),
            allow_private: self.directory_explicit,
            challenges,
            certificates: names.iter().map(|name| vec![name.clone()]).collect(),
            ..Settings::new(Vec::new())
        };
        settings.checked()
    }
}

/// The listeners that show it.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) https: &'a [SocketAddr],
    pub(super) https_place: &'a Place,
    /// Whether there is plain HTTP beside them.
    pub(super) with_http: bool,
}

/// What HTTPS shows; `None` inside where there is no HTTPS.
pub(super) fn compose(
    draft: file::Tls,
    domains: &Read<Vec<String>>,
    shown: Option<Shown<'_>>,
    loading: &mut Loading<'_>,
) -> Option<Option<Tls>> {
    const REMEDY: &str = "Give acme_email under [tls], and the domain's certificate comes by itself; \
        or certificate and private_key, PEM files both; \
        or write https = [] under [server] where something in front ends TLS";
    let files = files(draft.certificate, draft.private_key, loading);
    let acme = acme(draft.acme, shown.is_some_and(|shown| shown.with_http), loading);
    let (files, acme, shown) = (files?, acme?, shown?);
    let (tls, place) = match (files, acme) {
        (Some(_), Some((_, places))) => {
            let what = "certificates come from files and from an authority";
            loading.fault(places.email, what, "Remove acme_email, or certificate and private_key");
            return None;
        }
        (Some((files, place)), None) => (Tls::Files(files), place),
        (None, Some((acme, places))) => {
            certifiable(&acme, &places, domains, loading)?;
            (Tls::Acme(acme), places.email)
        }
        (None, None) if shown.https.is_empty() => return Some(None),
        (None, None) => {
            let what = "HTTPS is to be served and there is no certificate";
            loading.fault(shown.https_place.clone(), what, REMEDY);
            return None;
        }
    };
    if !shown.https.is_empty() {
        return Some(Some(tls));
    }
    let what = "there is a certificate and no HTTPS listener to show it";
    loading.warn(place, what, "Give server.https an address, or remove the certificate");
    // What is in files is looked at nevertheless; nothing is to be got for nobody.
    Some(Some(tls).filter(|tls| matches!(tls, Tls::Files(_))))
}

fn files(
    certificate: Read<Chain>,
    private_key: Read<Key>,
    loading: &mut Loading<'_>,
) -> Option<Option<(TlsFiles, Place)>> {
    match (certificate, private_key) {
        (Read::Given(chain, place), Read::Given(key, key_place)) => {
            if let Err(wrong) = pem::belong_together(&chain, &key) {
                loading.fault(key_place, wrong.what, wrong.remedy);
                return None;
            }
            Some(Some((TlsFiles { certificate: chain.path, private_key: key.path }, place)))
        }
        (Read::Given(_, place), Read::Absent) => {
            loading.fault(place, "the certificate has no private key", "Give private_key too");
            None
        }
        (Read::Absent, Read::Given(_, place)) => {
            loading.fault(place, "the private key has no certificate", "Give certificate too");
            None
        }
        (Read::Absent, Read::Absent) => Some(None),
        (Read::Faulty, _) | (_, Read::Faulty) => None,
    }
}

/// Where the keys stand that more can be wrong with.
struct Places {
    email: Place,
    directory: Option<Place>,
    eab_key: Option<Place>,
}

fn place_of<T>(read: &Read<T>) -> Option<Place> {
    read.given().map(|(_, place)| place.clone())
}

fn acme(draft: file::Acme, with_http: bool, loading: &mut Loading<'_>) -> Option<Option<(Acme, Places)>> {
    let file::Acme { email, directory, staging, ca_file, eab_kid, eab_key } = draft;
    let others = [
        place_of(&directory),
        place_of(&staging),
        place_of(&ca_file),
        place_of(&eab_kid),
        place_of(&eab_key),
    ];
    let (email, email_place) = match email {
        Read::Given(email, place) => (email, place),
        Read::Faulty => return None,
        Read::Absent => {
            let Some(place) = others.into_iter().flatten().next() else { return Some(None) };
            loading.fault(place, "nobody asks for a certificate", "Give acme_email too");
            return None;
        }
    };
    let (directory_place, eab_place) = (place_of(&directory), place_of(&eab_key));
    if let (Some((true, place)), Some(_)) = (staging.given(), directory.given()) {
        let what = "the directory is named, so there is nothing to choose";
        loading.fault(place.clone(), what, "Remove acme_staging or acme_directory");
        return None;
    }
    let external_account = match (eab_kid, eab_key) {
        (Read::Given(id, _), Read::Given(key, _)) => Some((id, key)),
        (Read::Absent, Read::Absent) => None,
        (Read::Given(_, place), Read::Absent) => {
            loading.fault(place, "the external account has no key", "Give acme_eab_key too");
            return None;
        }
        (Read::Absent, Read::Given(_, place)) => {
            loading.fault(place, "the external account's key has no name", "Give acme_eab_kid too");
            return None;
        }
        (Read::Faulty, _) | (_, Read::Faulty) => return None,
    };
    let of_the_house = if staging.or(false)? { LETS_ENCRYPT_STAGING } else { LETS_ENCRYPT };
    let acme = Acme {
        email,
        directory: directory.or(of_the_house.to_owned())?,
        directory_explicit: directory_place.is_some(),
        ca_file: ca_file.optional()?,
        external_account,
        with_http,
    };
    Some(Some((acme, Places { email: email_place, directory: directory_place, eab_key: eab_place })))
}

/// Whether an authority could certify the gateway's names.
fn certifiable(
    acme: &Acme,
    places: &Places,
    domains: &Read<Vec<String>>,
    loading: &mut Loading<'_>,
) -> Option<()> {
    let (names, names_place) = match domains {
        Read::Given(names, place) => (names, place),
        Read::Faulty => return None,
        Read::Absent => {
            let what = "there is no domain to get a certificate for";
            loading.fault(places.email.clone(), what, "Name it as domain under [server]");
            return None;
        }
    };
    let Err(error) = acme.settings(names) else { return Some(()) };
    let (place, remedy) = match &error {
        SettingsError::Directory { .. } => (
            places.directory.as_ref(),
            "Write the authority's directory, like https://acme-v02.api.letsencrypt.org/directory",
        ),
        SettingsError::ExternalAccount => {
            (places.eab_key.as_ref(), "Copy both from the authority's page, the key in base64url")
        }
        _ => (Some(names_place), "Name domains that public authorities certify, or give certificate files"),
    };
    loading.fault(place.unwrap_or(&places.email).clone(), error.to_string(), remedy);
    None
}
