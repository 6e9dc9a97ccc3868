//! One attempt: from an order to a certificate.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeStatus, Error, Identifier, NewOrder, Order,
    OrderStatus, Problem,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use waypost_outbound::CallError;

use crate::certificate::{Certificate, CertificateError, Kept};
use crate::challenges::{ChallengeKind, Challenges, Shown};
use crate::keep::KeepError;
use crate::limits::{POLL_PAUSE, RESUMES_MAX};
use crate::settings::Settings;

/// Why an attempt brought nothing.
#[derive(Debug)]
pub(crate) struct Failure {
    /// One plain sentence. It holds no key.
    pub(crate) sentence: String,
    /// The authority's name for it (RFC 8555, section 6.7), without its prefix.
    kind: Option<String>,
    /// Whether asking again at once is likely to help.
    momentary: bool,
}

impl Failure {
    fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), kind: None, momentary: false }
    }

    /// It took longer than an attempt may.
    pub(crate) fn timed_out() -> Self {
        Self::new("the authority did not come to an end in time")
    }

    /// It concerns this name.
    fn about(self, name: &str) -> Self {
        Self { sentence: format!("{name}: {}", self.sentence), ..self }
    }

    /// Whether the authority gave it this name.
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(problem) => Self::from(&problem),
            Error::Other(cause) => {
                let momentary = cause.downcast_ref::<Box<CallError>>().is_some();
                Self { sentence: cause.to_string(), kind: None, momentary }
            }
            // An answer that is no JSON comes from something in front of the authority that is in trouble.
            Error::Json(_) => Self { momentary: true, ..Self::new("the authority's answer was not ACME") },
            other => Self::new(other.to_string()),
        }
    }
}

impl From<&Problem> for Failure {
    fn from(problem: &Problem) -> Self {
        let kind = problem.r#type.as_deref().unwrap_or_default();
        let kind = kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind).to_owned();
        let mut sentence =
            problem.detail.clone().unwrap_or_else(|| "the authority gave no reason".to_owned());
        for subproblem in &problem.subproblems {
            if let (Some(Identifier::Dns(name)), Some(detail)) = (&subproblem.identifier, &subproblem.detail)
            {
                sentence = format!("{sentence}; {name}: {detail}");
            }
        }
        sentence.truncate(sentence.floor_char_boundary(SENTENCE_BYTES_MAX));
        let momentary = matches!(kind.as_str(), "badNonce" | "serverInternal");
        Self { sentence: format!("{sentence} ({kind})"), kind: Some(kind), momentary }
    }
}

impl From<KeepError> for Failure {
    fn from(error: KeepError) -> Self {
        Self::new(format!("nothing can be kept: {error}"))
    }
}

impl From<rcgen::Error> for Failure {
    fn from(error: rcgen::Error) -> Self {
        Self::new(format!("a key or certificate request could not be made: {error}"))
    }
}

impl From<CertificateError> for Failure {
    fn from(error: CertificateError) -> Self {
        Self::new(error.to_string())
    }
}

/// What an authority says is shown, but not a book of it.
const SENTENCE_BYTES_MAX: usize = 1_000;

/// What is ordered.
pub(crate) struct Wanted<'w> {
    pub(crate) settings: &'w Settings,
    pub(crate) names: &'w [String],
    /// The certificate that this one takes the place of.
    pub(crate) replaces: Option<CertificateIdentifier<'static>>,
    pub(crate) challenges: &'w Challenges,
    /// The ways to prove a name, the one to be used first.
    pub(crate) kinds: Vec<ChallengeKind>,
}

/// Orders a certificate, proves the names, and brings the certificate with its new key.
pub(crate) async fn obtain(account: &Account, wanted: &Wanted<'_>) -> Result<(Kept, Certificate), Failure> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(wanted.names)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key)?;
    let mut shown = Vec::new();
    let mut order = place(account, wanted).await?;
    let mut faults = 0;
    let chain_pem = loop {
        match bring(&mut order, wanted, request.der(), &mut shown).await {
            Ok(chain_pem) => break chain_pem,
            Err(failure) if failure.momentary && faults < RESUMES_MAX => {
                faults += 1;
                tracing::debug!(reason = failure.sentence, "a momentary fault; going on with the order");
                tokio::time::sleep(POLL_PAUSE.0).await;
                if let Ok(renewed) = account.order(order.url().to_owned()).await {
                    order = renewed;
                }
            }
            Err(failure) => return Err(failure),
        }
    };
    let kept = Kept { directory: wanted.settings.directory.clone(), chain_pem, key_pem: key.serialize_pem() };
    let certificate = kept.open()?;
    if !certificate.covers(wanted.names) {
        return Err(Failure::new("the authority gave a certificate that lacks a name that was asked for"));
    }
    Ok((kept, certificate))
}

/// Places the order; as a replacement where the authority takes replacements.
async fn place(account: &Account, wanted: &Wanted<'_>) -> Result<Order, Failure> {
    let identifiers: Vec<_> = wanted.names.iter().cloned().map(Identifier::Dns).collect();
    let plain = || {
        let order = NewOrder::new(&identifiers);
        match &wanted.settings.profile {
            Some(profile) => order.profile(profile),
            None => order,
        }
    };
    let mut faults = 0;
    let mut replaces = wanted.replaces.clone();
    loop {
        let order = match replaces.clone() {
            Some(former) => plain().replaces(former),
            None => plain(),
        };
        let failure = match account.new_order(&order).await {
            Ok(order) => return Ok(order),
            Err(Error::Unsupported(_)) if replaces.is_some() => {
                replaces = None;
                continue;
            }
            Err(error) => Failure::from(error),
        };
        // The former one was replaced already, or is not known: that says nothing against another certificate.
        if replaces.is_some() && !failure.momentary && !failure.is("rateLimited") {
            replaces = None;
        } else if failure.momentary && faults < RESUMES_MAX {
            faults += 1;
            tokio::time::sleep(POLL_PAUSE.0).await;
        } else {
            return Err(failure);
        }
    }
}

/// Takes an order from wherever it stands to its certificate.
async fn bring(
    order: &mut Order,
    wanted: &Wanted<'_>,
    request: &[u8],
    shown: &mut Vec<Shown>,
) -> Result<String, Failure> {
    if order.state().status == OrderStatus::Pending {
        prove(order, wanted, shown).await?;
    }
    let mut pause = POLL_PAUSE.0;
    // Bounded by the time of an attempt.
    loop {
        match order.state().status {
            OrderStatus::Ready => order.finalize_csr(request).await?,
            OrderStatus::Valid => {
                return order
                    .certificate()
                    .await?
                    .ok_or_else(|| Failure::new("the order has no certificate"));
            }
            OrderStatus::Invalid => return Err(reason(order).await),
            OrderStatus::Pending | OrderStatus::Processing => {
                pause_before_a_look(&mut pause).await;
                order.refresh().await?;
            }
        }
    }
}

async fn pause_before_a_look(pause: &mut Duration) {
    tokio::time::sleep(*pause).await;
    *pause = (*pause * 2).min(POLL_PAUSE.1);
}

/// Gives the answer for each name that is not proved yet, and tells the authority to come and look.
async fn prove(order: &mut Order, wanted: &Wanted<'_>, shown: &mut Vec<Shown>) -> Result<(), Failure> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            _ => break,
        }
        let Identifier::Dns(name) = authorization.identifier().identifier.clone() else { continue };
        let offered = |kind: &ChallengeKind| {
            authorization.challenges.iter().any(|challenge| challenge.r#type == kind.on_the_wire())
        };
        let Some(kind) = wanted.kinds.iter().copied().find(offered) else {
            return Err(Failure::new(format!(
                "{name}: the authority offers no way to prove it that is open here"
            )));
        };
        let Some(mut challenge) = authorization.challenge(kind.on_the_wire()) else { continue };
        if challenge.status != ChallengeStatus::Pending {
            continue;
        }
        let answer = challenge.key_authorization();
        shown.push(wanted.challenges.show(kind, &name, &challenge.token, &answer)?);
        challenge.set_ready().await.map_err(|error| Failure::from(error).about(&name))?;
    }
    Ok(())
}

/// Why an order is invalid: what the authority found when it looked.
async fn reason(order: &mut Order) -> Failure {
    let told = order.state().error.as_ref().map(Failure::from);
    let mut found = Vec::new();
    let mut kind = None;
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        let name = state.identifier().to_string();
        for problem in state.challenges.iter().filter_map(|challenge| challenge.error.as_ref()) {
            let failure = Failure::from(problem);
            let failure = failure.about(&name);
            found.push(failure.sentence);
            kind = failure.kind;
        }
    }
    if found.is_empty() {
        return told
            .unwrap_or_else(|| Failure::new("the authority found the order invalid and gave no reason"));
    }
    let mut sentence = found.join("; ");
    sentence.truncate(sentence.floor_char_boundary(SENTENCE_BYTES_MAX));
    Failure { sentence, kind, momentary: false }
}
