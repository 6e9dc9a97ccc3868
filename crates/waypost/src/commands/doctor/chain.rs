//! A certificate chain as a caller is shown it: whether it is whole, for the right name, and for how long.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error};
use waypost_domain::UnixMillis;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use super::finding::Finding;
use super::trust::Trust;

const CHECK: &str = "certificate";
/// Where the issuer's certificate can be fetched: id-ad-caIssuers (RFC 5280, section 4.2.2.1).
const CA_ISSUERS: &str = "1.3.6.1.5.5.7.48.2";
/// Less than so much of its lifetime left means that renewal, due at two thirds, does not happen.
const RENEWAL_OVERDUE_PART: u32 = 5;
/// Certificates of a chain that are looked at.
const CHAIN_LENGTH_MAX: usize = 16;

/// Judges a chain as somebody does who calls `name` and fetches nothing. `caller` is who that is.
pub(super) fn judge(
    chain: &[CertificateDer<'_>],
    name: &str,
    subject: &str,
    trust: &Trust,
    now: UnixMillis,
    caller: &str,
) -> Vec<Finding> {
    let Some(chain_read) = read(chain) else {
        return vec![
            Finding::fault(CHECK, subject, "what was shown is not a certificate that can be read")
                .why(format!("{caller} cannot believe it"))
                .remedy("Install a certificate of a public authority, with its whole chain"),
        ];
    };
    let Some(leaf) = chain_read.first() else {
        return vec![
            Finding::fault(CHECK, subject, "no certificate was shown")
                .why(format!("{caller} cannot believe it"))
                .remedy("Install a certificate of a public authority, with its whole chain"),
        ];
    };
    let mut findings = dates(&chain_read, subject, now, caller);
    findings.extend(name_of(leaf, name, subject, caller));
    // A chain that has expired may besides be incomplete: it is asked as of a day on which its first certificate held.
    let at = now.0.clamp(leaf.not_before().saturating_add(1_000), leaf.not_after().saturating_sub(1_000));
    let at = UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(at).unwrap_or(0)));
    let any_name = ServerName::try_from(name.to_owned());
    let judged = any_name.map(|name| trust.judge(chain, &name, at));
    findings.extend(completeness(judged.unwrap_or(Ok(())), &chain_read, subject, caller));
    findings.extend(tidiness(&chain_read, subject));
    findings
}

/// A certificate, read.
struct Read<'c>(X509Certificate<'c>);

fn read<'c>(chain: &'c [CertificateDer<'_>]) -> Option<Vec<Read<'c>>> {
    let certificates = chain.iter().take(CHAIN_LENGTH_MAX);
    certificates.map(|der| X509Certificate::from_der(der).ok().map(|(_, read)| Read(read))).collect()
}

impl Read<'_> {
    fn not_before(&self) -> i64 {
        self.0.validity().not_before.timestamp().saturating_mul(1_000)
    }

    fn not_after(&self) -> i64 {
        self.0.validity().not_after.timestamp().saturating_mul(1_000)
    }

    fn is_self_signed(&self) -> bool {
        self.0.subject().as_raw() == self.0.issuer().as_raw()
    }

    /// The names and addresses it is for.
    fn names(&self) -> Vec<String> {
        let Ok(Some(names)) = self.0.subject_alternative_name() else { return Vec::new() };
        let names = names.value.general_names.iter();
        names
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                GeneralName::IPAddress(bytes) => match bytes.len() {
                    4 => <[u8; 4]>::try_from(*bytes).ok().map(|four| IpAddr::from(four).to_string()),
                    _ => <[u8; 16]>::try_from(*bytes).ok().map(|six| IpAddr::from(six).to_string()),
                },
                _ => None,
            })
            .collect()
    }

    /// Where its issuer's certificate can be fetched.
    fn issuer_at(&self) -> Option<String> {
        let parsed = self.0.extensions().iter().map(|extension| extension.parsed_extension());
        let mut descriptions = parsed.filter_map(|extension| match extension {
            ParsedExtension::AuthorityInfoAccess(access) => Some(access),
            _ => None,
        });
        let access = descriptions.next()?;
        access.accessdescs.iter().find_map(|description| match &description.access_location {
            GeneralName::URI(uri) if description.access_method.to_id_string() == CA_ISSUERS => {
                Some((*uri).to_owned())
            }
            _ => None,
        })
    }
}

fn dates(chain: &[Read<'_>], subject: &str, now: UnixMillis, caller: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, certificate) in chain.iter().enumerate() {
        let whose = if index == 0 {
            "the certificate".to_owned()
        } else {
            format!("the intermediate certificate {}", short(certificate.0.subject()))
        };
        let (from, to) = (certificate.not_before(), certificate.not_after());
        let lifetime = to.saturating_sub(from).max(1);
        let left = to.saturating_sub(now.0);
        if now.0 > to {
            findings.push(
                Finding::fault(CHECK, subject, format!("{whose} expired on {}", day(to)))
                    .why(format!("{caller} refuses the connection"))
                    .remedy("Renew it, and find out why it was not renewed by itself"),
            );
        } else if now.0 < from {
            findings.push(
                Finding::fault(CHECK, subject, format!("{whose} is not valid before {}", day(from)))
                    .why(format!("{caller} refuses the connection until then"))
                    .remedy(
                        "Look at this machine's clock first; else install a certificate that is valid now",
                    ),
            );
        } else if index > 0 {
        } else if left < lifetime / i64::from(RENEWAL_OVERDUE_PART) {
            findings.push(
                Finding::warning(
                    CHECK,
                    subject,
                    format!("{whose} expires on {}, {} from now", day(to), span(left)),
                )
                .why("It should have been renewed at two thirds of its lifetime; renewal seems to fail")
                .remedy("Look at the log of whatever renews it, before that day"),
            );
        } else {
            let what = format!("{whose} is valid until {}, {} from now", day(to), span(left));
            findings.push(Finding::ok(CHECK, subject, what));
        }
    }
    findings
}

fn name_of(leaf: &Read<'_>, name: &str, subject: &str, caller: &str) -> Option<Finding> {
    let Ok(server_name) = ServerName::try_from(name.to_owned()) else {
        return Some(
            Finding::fault(CHECK, subject, format!("`{name}` cannot stand in a certificate"))
                .why(format!("{caller} finds no certificate that is for it"))
                .remedy("Use a name of letters, digits, hyphens and dots"),
        );
    };
    let der = CertificateDer::from(leaf.0.as_raw());
    let parsed = rustls::server::ParsedCertificate::try_from(&der);
    let matches = parsed.and_then(|parsed| rustls::client::verify_server_name(&parsed, &server_name));
    if matches.is_ok() {
        return Some(Finding::ok(CHECK, subject, format!("it is for {name}")));
    }
    let names = leaf.names();
    let listed = if names.is_empty() { "no name at all".to_owned() } else { listed(&names) };
    Some(
        Finding::fault(CHECK, subject, format!("it is for {listed}, not for {name}"))
            .why(format!("{caller} refuses the connection: the name must match exactly"))
            .remedy(format!("Install a certificate for {name}, or call the server by a name that it is for")),
    )
}

/// What a verdict about trust comes from.
fn completeness(judged: Result<(), Error>, chain: &[Read<'_>], subject: &str, caller: &str) -> Vec<Finding> {
    let reason = match judged {
        // Dates and names are told by themselves.
        Err(Error::InvalidCertificate(
            CertificateError::NotValidForName
            | CertificateError::NotValidForNameContext { .. }
            | CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ))
        | Ok(()) => {
            let plural = if chain.len() == 1 { "" } else { "s" };
            let what = format!("the chain is whole: {} certificate{plural}", chain.len());
            return vec![Finding::ok(CHECK, subject, what)];
        }
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => None,
        // A root that only bears the name of one that is believed.
        Err(Error::InvalidCertificate(CertificateError::BadSignature))
            if end_of(chain).is_some_and(Read::is_self_signed) =>
        {
            None
        }
        Err(other) => Some(other),
    };
    let why = format!("{caller} refuses the connection");
    if let Some(reason) = reason {
        return vec![
            Finding::fault(CHECK, subject, format!("the chain is refused: {reason}"))
                .why(why)
                .remedy("Install a certificate of a public authority, with its whole chain"),
        ];
    }
    let Some(end) = end_of(chain) else { return Vec::new() };
    let name = short(end.0.subject());
    if end.is_self_signed() {
        let what = if chain.len() == 1 {
            "the certificate is signed by itself".to_owned()
        } else {
            format!("the chain ends in {name}, which nobody here believes")
        };
        return vec![
            Finding::fault(CHECK, subject, what)
                .why(format!("{caller} refuses the connection: only public authorities are believed"))
                .remedy("Get a certificate of a public authority, such as Let's Encrypt; for a receiver with an authority of its own, name that in ca_file"),
        ];
    }
    let issuer = short(end.0.issuer());
    let fetch = match end.issuer_at() {
        Some(uri) => format!("; it can be fetched at {uri}"),
        None => String::new(),
    };
    vec![
        Finding::fault(
            CHECK,
            subject,
            format!("the chain is incomplete: `{name}` is signed by the intermediate `{issuer}`, which was not sent and is no root that is known here"),
        )
        .why(format!("{caller} fetches no missing certificates, as browsers do, and refuses the connection"))
        .remedy(format!(
            "Serve the whole chain (fullchain.pem, not cert.pem): the certificate of `{issuer}` after the server's own{fetch}"
        )),
    ]
}

/// Where one comes to from the first certificate, from each to its issuer.
fn end_of<'a, 'c>(chain: &'a [Read<'c>]) -> Option<&'a Read<'c>> {
    let mut at = chain.first()?;
    for _ in 0..chain.len() {
        let issuer = chain.iter().find(|other| other.0.subject().as_raw() == at.0.issuer().as_raw());
        match issuer {
            Some(issuer) if !at.is_self_signed() => at = issuer,
            _ => break,
        }
    }
    Some(at)
}

/// What is sent without need or in disorder: harmless to most, not to all.
fn tidiness(chain: &[Read<'_>], subject: &str) -> Option<Finding> {
    let in_order = chain.windows(2).all(|two| two[0].0.issuer().as_raw() == two[1].0.subject().as_raw());
    if !in_order {
        return Some(
            Finding::note(CHECK, subject, "certificates are sent that do not each sign the one before")
                .why("TLS before 1.3 asks for that order (RFC 5246, section 7.4.2), and some callers insist")
                .remedy("Send the server's own certificate first, then each one's issuer, and nothing else"),
        );
    }
    let root = chain.len() > 1 && chain.last().is_some_and(Read::is_self_signed);
    root.then(|| Finding::note(CHECK, subject, "the root is sent too, which nobody needs"))
}

/// The name people know a certificate by.
fn short(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().next().and_then(|name| name.as_str().ok());
    common.map_or_else(|| name.to_string(), str::to_owned)
}

fn listed(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

fn day(millis: i64) -> String {
    let moment = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
    moment.to_string().get(..10).unwrap_or_default().to_owned()
}

fn span(millis: i64) -> String {
    let hours = millis / 3_600_000;
    if hours < 48 { format!("{hours} hours") } else { format!("{} days", hours / 24) }
}
