//! The clock: whether it is kept right, and whether it can be.

use std::path::Path;
use std::time::Duration;

use waypost_domain::{Clock, UnixMillis};

use super::finding::Finding;
use crate::config::Config;

const CHECK: &str = "clock";
/// 1 January 2026: no Waypost is older, so no clock that is right says an earlier time.
const FIRST_DAY: UnixMillis = UnixMillis(1_767_225_600_000);
/// What the two clocks of a machine may differ by over the examination.
const STEP_MAX: Duration = Duration::from_secs(1);
/// What a file may be ahead of the clock.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// Both clocks, at one moment.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    wall: UnixMillis,
    monotonic: Duration,
}

impl Moment {
    pub(super) fn of(clock: &Clock) -> Self {
        Self { wall: clock.wall(), monotonic: clock.monotonic() }
    }
}

/// Judges the clock by all that is known without asking anybody outside.
pub(super) fn examine(began: Moment, clock: &Clock, config: &Config) -> Vec<Finding> {
    let now = Moment::of(clock);
    let newest = [&config.storage.path, &config.data_dir].into_iter().filter_map(|path| changed(path)).max();
    let mut findings = Vec::new();
    findings.extend(plausible(began, now, newest));
    findings.push(kept());
    findings
}

fn plausible(began: Moment, now: Moment, newest: Option<UnixMillis>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if now.wall < FIRST_DAY {
        findings.push(
            Finding::fault(CHECK, "", "it says a year in which there was no Waypost")
                .why("Certificates are taken for not valid yet, and no authority gives one")
                .remedy("Set it, and let it be kept right: timedatectl set-ntp true"),
        );
    }
    let (walked, ran) =
        (now.wall.0.saturating_sub(began.wall.0), now.monotonic.saturating_sub(began.monotonic));
    let ran_millis = i64::try_from(ran.as_millis()).unwrap_or(i64::MAX);
    if walked.abs_diff(ran_millis) > STEP_MAX.as_millis() as u64 {
        findings.push(
            Finding::warning(CHECK, "", "it was set while this command ran")
                .why("Times on record before and after do not compare; deliveries are not disturbed")
                .remedy("Find out what sets it in steps"),
        );
    }
    if let Some(newest) = newest
        && newest.since(now.wall) > AHEAD_MAX
    {
        findings.push(
            Finding::warning(CHECK, "", "the store was written at a time that is still to come")
                .why("The clock was ahead then, or is behind now; certificates and records are judged by it")
                .remedy("Let it be kept right: timedatectl set-ntp true"),
        );
    }
    findings
}

fn changed(path: &Path) -> Option<UnixMillis> {
    use std::os::unix::fs::MetadataExt;
    let seconds = std::fs::metadata(path).ok()?.mtime();
    Some(UnixMillis(seconds.saturating_mul(1_000)))
}

/// Whether something keeps it right. systemd-timesyncd marks it with a file once it has (systemd-timesyncd.service(8));
/// of others only the presence can be told.
fn kept() -> Finding {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Finding::ok(CHECK, "", "synchronised by systemd-timesyncd");
    }
    let others =
        [("/run/chrony/chronyd.pid", "chrony"), ("/run/chronyd.pid", "chrony"), ("/run/ntpd.pid", "ntpd")];
    if let Some((_, name)) = others.iter().find(|(path, _)| Path::new(path).exists()) {
        return Finding::ok(CHECK, "", format!("{name} runs to keep it right"));
    }
    Finding::note(CHECK, "", "whether anything keeps it right is not known")
        .why("A clock that is off makes certificates invalid and records misleading")
        .remedy("Look at `timedatectl`; in a container, at the host's")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_cannot_be_right_is_told() {
        let at =
            |wall, monotonic| Moment { wall: UnixMillis(wall), monotonic: Duration::from_secs(monotonic) };
        let noon = 1_790_000_000_000;
        for (began, now, newest, findings) in [
            (at(noon, 0), at(noon + 5_000, 5), Some(noon), 0),
            (at(noon, 0), at(noon + 5_000, 5), None, 0),
            (at(0, 0), at(5_000, 5), None, 1),
            (at(noon, 0), at(noon + 60_000, 5), None, 1),
            (at(noon, 0), at(noon - 60_000, 5), None, 1),
            (at(noon, 0), at(noon, 0), Some(noon + 3_600_000), 1),
        ] {
            assert_eq!(plausible(began, now, newest.map(UnixMillis)).len(), findings, "{}", now.wall.0);
        }
    }
}
