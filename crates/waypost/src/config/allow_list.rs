//! The allow-list: the file's upstreams and the hosts of flags and variables, each host once.

use std::collections::BTreeMap;
use std::time::Duration;

use waypost_domain::{Origin, RetrySchedule, Rulings, UpstreamHost, limits};
use waypost_outbound::address::is_public;

use super::file;
use super::finding::Place;
use super::forms;
use super::inputs::Inputs;
use super::loading::Loading;
use super::own::Own;
use super::section::Read;
use super::{Batches, Delivery, Fallback, Kind, Mode, Patience, SignWith, Upstream};

/// How long a failing delivery holds its lane, unless the destination says otherwise.
const LANE_PATIENCE: Patience = Patience::For(Duration::from_secs(120));

/// The upstreams of the file, those of the variable, those of the flags. `None` if one of them is faulty. Where they
/// are the only way in, none at all is doubtful.
pub(super) fn compose(
    inputs: &Inputs,
    drafts: Option<Vec<file::Upstream>>,
    own: &Own,
    is_only_way: bool,
    loading: &mut Loading<'_>,
) -> Option<Vec<Upstream>> {
    let allowed = allowed(inputs, loading);
    let all = upstreams(drafts, allowed, own, loading);
    if is_only_way && all.as_ref().is_some_and(Vec::is_empty) {
        loading.warn(
            Place::outside("upstream"),
            "nothing is on the allow-list: every call is answered 403 or 404",
            "Add [[upstream]] to the file or --allow HOST",
        );
    }
    all
}

/// The upstream, unless a part of it is faulty.
pub(super) fn one_upstream(draft: file::Upstream, own: &Own, loading: &mut Loading<'_>) -> Option<Upstream> {
    let upstreams = upstreams(Some(vec![draft]), Some(Vec::new()), own, loading)?;
    upstreams.into_iter().next()
}

/// A host of `--allow` or `WAYPOST_ALLOW`.
struct Allowed {
    host: UpstreamHost,
    origin: Option<Origin>,
    place: Place,
}

/// Hosts that the flags may name, and the variable as well.
const ALLOWED_MAX: usize = 1_000;

/// Variables' hosts, then flags', each once; a flag's word on a host replaces the variable's.
fn allowed(inputs: &Inputs, loading: &mut Loading<'_>) -> Option<Vec<Allowed>> {
    let from_variable_read = loading.variable("WAYPOST_ALLOW", |text| Ok(text.to_owned()));
    let from_variable = match &from_variable_read {
        Read::Given(text, _) => text.split(',').filter(|part| !part.trim().is_empty()).collect(),
        _ => Vec::new(),
    };
    let from_flags: Vec<&str> = inputs.allow.iter().flat_map(|text| text.split(',')).collect();
    let mut all: Vec<Allowed> = Vec::new();
    let mut stands = !matches!(from_variable_read, Read::Faulty);
    for (key, texts) in [("WAYPOST_ALLOW", from_variable), ("--allow", from_flags)] {
        for (index, text) in texts.into_iter().enumerate() {
            if index == ALLOWED_MAX {
                stands = false;
                loading.fault(
                    Place::outside(key),
                    format!("more than {ALLOWED_MAX} hosts"),
                    "Write them as [[upstream]] into the configuration file",
                );
                break;
            }
            let Read::Given((host, origin), place) = loading.outside(key, Some(text), forms::allowed) else {
                stands = false;
                continue;
            };
            match all.iter().position(|other| other.host == host) {
                Some(index) if all[index].place.key == key => {
                    stands = false;
                    loading.fault(place, format!("{host} is named twice"), "Name each host once");
                }
                Some(index) => {
                    if origin.is_some() {
                        all[index].origin = origin;
                    }
                    all[index].place = place;
                }
                None => all.push(Allowed { host, origin, place }),
            }
        }
    }
    stands.then_some(all)
}

fn upstreams(
    drafts: Option<Vec<file::Upstream>>,
    allowed: Option<Vec<Allowed>>,
    own: &Own,
    loading: &mut Loading<'_>,
) -> Option<Vec<Upstream>> {
    let stands = allowed.is_some() && drafts.is_some();
    let mut allowed = allowed.unwrap_or_default();
    let mut first_of: BTreeMap<UpstreamHost, String> = BTreeMap::new();
    let mut all: Vec<Option<Upstream>> = Vec::new();
    for mut draft in drafts.unwrap_or_default() {
        if draft.host.is_absent() {
            let key = if draft.place.key.is_empty() {
                "host".to_owned()
            } else {
                format!("{}.host", draft.place.key)
            };
            let place = draft.place.about(&key);
            loading.fault(place, "the upstream has no host", "Write host = \"chatwoot.example.com\"");
            draft.host = Read::Faulty;
        }
        if let Some((host, place)) = draft.host.given() {
            if let Some(first) = first_of.get(host) {
                loading.fault(place.clone(), format!("{host} is already {first}"), "Keep one of the two");
            } else {
                first_of.insert(host.clone(), draft.place.key.clone());
            }
            if let Some(index) = allowed.iter().position(|other| other.host == *host) {
                let Allowed { origin, place, .. } = allowed.remove(index);
                if let Some(origin) = origin {
                    draft.origin = Read::Given(origin, place);
                }
            }
        }
        all.push(upstream(draft, own, loading));
    }
    for Allowed { host, origin, place } in allowed {
        let mut draft = file::Upstream::only(place.clone());
        draft.host = Read::Given(host, place.clone());
        draft.origin = origin.map_or(Read::Absent, |origin| Read::Given(origin, place));
        all.push(upstream(draft, own, loading));
    }
    all.into_iter().collect::<Option<Vec<_>>>().filter(|_| stands)
}

fn upstream(draft: file::Upstream, own: &Own, loading: &mut Loading<'_>) -> Option<Upstream> {
    let is_elsewhere = !calls_itself(&draft, own, loading);
    let paths_place =
        draft.paths.given().filter(|(paths, _)| paths.is_empty()).map(|(_, place)| place.clone());
    if let Some(place) = paths_place {
        let what = "an empty list lets nothing through";
        loading.fault(place, what, "Remove the key to let every path through, or list prefixes");
    }
    if let (Read::Absent | Read::Given(Mode::Store, _), Some((Fallback::Store, place))) =
        (&draft.mode, draft.fallback.given())
    {
        let what = "mode store keeps everything first: there is nothing to fall back from";
        loading.fault(place.clone(), what, "Remove the key, or write mode = \"relay\"");
    }
    let delivery = delivery(draft.delivery, loading);
    let has_secrets = !draft.app_secrets.is_absent();
    let can_split = pieces(&draft.batches, &draft.sign_with, has_secrets, loading);
    let origin_explicit = draft.origin.given().is_some();
    let (host, host_place) = match draft.host {
        Read::Given(host, place) => (host, place),
        _ => return None,
    };
    let upstream = Upstream {
        mode: draft.mode.or(Mode::Store)?,
        fallback: draft.fallback.or(Fallback::None)?,
        origin: draft.origin.or(Origin::of(&host))?,
        origin_explicit,
        ca_file: draft.ca_file.optional()?,
        paths: draft.paths.or(vec!["/".to_owned()])?,
        app_secrets: draft.app_secrets.or(Vec::new())?,
        verify_tokens: draft.verify_tokens.or(Vec::new())?,
        allow_private: draft.allow_private.or(origin_explicit)?,
        batches: draft.batches.or(Batches::Whole)?,
        sign_with: draft.sign_with.or(SignWith::Source)?,
        delivery: delivery?,
        host,
    };
    let stores = upstream.mode == Mode::Store || upstream.fallback == Fallback::Store;
    if stores && upstream.app_secrets.is_empty() {
        loading.warn(
            host_place.clone(),
            format!(
                "callers of {} are not authenticated: anybody may post what is stored and delivered",
                upstream.host
            ),
            "Give app_secrets, the app secret of each Meta app that calls",
        );
    }
    if !upstream.allow_private && is_private(&upstream.origin) {
        loading.warn(
            host_place,
            format!("{} is not a public address and every call to it will be refused", upstream.origin),
            "Write allow_private = true, or the origin",
        );
    }
    (is_elsewhere && can_split).then_some(upstream)
}

/// An upstream that leads back to this gateway answers nothing, for ever.
fn calls_itself(draft: &file::Upstream, own: &Own, loading: &mut Loading<'_>) -> bool {
    let found = match (draft.origin.given(), draft.host.given()) {
        (Some((origin, place)), _) => own.is(origin).map(|why| (why, place)),
        (None, Some((host, place))) if draft.origin.is_absent() => {
            let why = own.is(&Origin::of(host));
            why.map(|_| ("the host is this gateway's own domain".to_owned(), place))
        }
        _ => None,
    };
    let Some((why, place)) = found else { return false };
    let what = format!("{why}: it would call itself");
    loading.fault(place.clone(), what, "Write where the receiver really is as origin");
    true
}

/// What pieces of batches are to be signed with, where the upstream has such.
fn pieces(
    batches: &Read<Batches>,
    sign_with: &Read<SignWith>,
    has_secrets: bool,
    loading: &mut Loading<'_>,
) -> bool {
    if let Some((Batches::Split, place)) = batches.given()
        && sign_with.is_absent()
        && !has_secrets
    {
        let what = "what is split is signed anew, and there is no secret to sign it with";
        let remedy = "Give app_secrets or sign_with, or write sign_with = \"none\" where the receiver checks no signature";
        loading.fault(place.clone(), what, remedy);
        return false;
    }
    true
}

/// How one destination is delivered to.
pub(super) fn delivery(draft: file::Delivery, loading: &mut Loading<'_>) -> Option<Delivery> {
    if let (Some((timeout, _)), Some((connect, place))) =
        (draft.timeout.given(), draft.connect_timeout.given())
        && connect > timeout
    {
        loading.fault(place.clone(), "longer than timeout, which includes it", "Give at most timeout");
    }
    let schedule = schedule(draft.steps, draft.give_up_after, loading);
    if let (Some((retry, _)), Some((dead, place))) =
        (draft.retry_statuses.given(), draft.dead_statuses.given())
        && let Some(both) = dead.iter().find(|status| retry.contains(status))
    {
        let what = format!("{both} is in retry_statuses too");
        loading.fault(place.clone(), what, "Keep it in one of them");
    }
    let kind = draft.kind.or(Kind::Http)?;
    let timeout = draft.timeout.or(limits::ATTEMPT_TIME_MAX)?;
    Some(Delivery {
        timeout,
        connect_timeout: draft.connect_timeout.or(limits::CONNECT_TIME_MAX)?.min(timeout),
        lane_patience: draft.lane_patience.or(LANE_PATIENCE)?,
        concurrency_max: draft.concurrency_max.or(limits::CONCURRENCY_MAX)?,
        rate_max: draft.rate_max.or(kind.rate_max())?,
        schedule: schedule?,
        kind,
        rulings: Rulings {
            retry: draft.retry_statuses.or(Vec::new())?,
            dead: draft.dead_statuses.or(Vec::new())?,
        },
    })
}

fn schedule(
    steps: Read<Vec<Duration>>,
    give_up_after: Read<Duration>,
    loading: &mut Loading<'_>,
) -> Option<RetrySchedule> {
    let give_up_after = give_up_after.or(RetrySchedule::default().give_up_after());
    let (steps, place) = match steps {
        Read::Faulty => return None,
        Read::Given(steps, place) => (steps, place),
        Read::Absent => return Some(RetrySchedule::default().giving_up_after(give_up_after?)),
    };
    match RetrySchedule::new(steps, give_up_after?) {
        Ok(schedule) => Some(schedule),
        Err(error) => {
            let remedy = "Write waits like [\"5s\", \"1m\", \"1h\"]; the last one repeats";
            loading.fault(place, error.to_string(), remedy);
            None
        }
    }
}

/// Whether calls to it need the operator's word, as far as can be told without looking the name up.
pub(super) fn is_private(origin: &Origin) -> bool {
    match origin.address() {
        Some(address) => !is_public(address),
        None => origin.host == "localhost" || origin.host.ends_with(".localhost"),
    }
}
