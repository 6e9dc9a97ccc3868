//! `Retry-After`: when a receiver wants to be asked again.

use std::time::{Duration, UNIX_EPOCH};

use crate::{UnixMillis, limits};

/// How long a receiver that answered at `now` asks to be left alone: a number of seconds, or until a date in any
/// of the three forms that HTTP has (RFC 9110, sections 10.2.3 and 5.6.7). At most
/// [`limits::RETRY_AFTER_MAX`]; a date that has passed asks for nothing. `None` if it is neither.
pub fn retry_after(value: &str, now: UnixMillis) -> Option<Duration> {
    let value = value.trim();
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let wait = if is_number {
        // More digits than a number has are a long time too.
        value.parse().map_or(limits::RETRY_AFTER_MAX, Duration::from_secs)
    } else {
        let date = httpdate::parse_http_date(value).ok()?;
        UnixMillis::default().plus(date.duration_since(UNIX_EPOCH).unwrap_or_default()).since(now)
    };
    Some(wait.min(limits::RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1994-11-06T08:49:07Z: half a minute before the date that RFC 9110 writes in all its forms.
    const NOW: UnixMillis = UnixMillis(784_111_747_000);

    #[test]
    fn seconds_and_all_three_forms_of_a_date_are_understood() {
        let half_a_minute = Some(Duration::from_secs(30));
        for value in [
            "30",
            " 30 ",
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(retry_after(value, NOW), half_a_minute, "{value}");
        }
    }

    #[test]
    fn nothing_is_waited_for_longer_than_an_hour_and_the_past_is_now() {
        for value in ["3601", "99999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            assert_eq!(retry_after(value, NOW), Some(limits::RETRY_AFTER_MAX), "{value}");
        }
        for value in ["0", "Sun, 06 Nov 1994 08:49:00 GMT"] {
            assert_eq!(retry_after(value, NOW), Some(Duration::ZERO), "{value}");
        }
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:49:37 GMT", UnixMillis(i64::MIN)).unwrap(),
            limits::RETRY_AFTER_MAX
        );
    }

    #[test]
    fn anything_else_is_passed_over() {
        for value in ["", "soon", "-1", "+5", "1.5", "5s", "1994-11-06T08:49:37Z", "Sun, 06 Nov", "٣"] {
            assert_eq!(retry_after(value, NOW), None, "{value:?}");
        }
    }
}
