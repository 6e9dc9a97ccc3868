//! Amounts with a unit: `15s`, `50/s`, `4 MiB`.

use std::time::Duration;

use waypost_domain::Rate;

use super::finding::shown;
use super::forms::Wrong;

/// A duration as the configuration writes it, for flags and requests that take one too.
///
/// # Errors
///
/// In one sentence: what is wrong and how to write it.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    duration(text).map_err(|wrong| format!("{}. {}", wrong.what, wrong.remedy))
}

/// `500ms`, `15s`, `2m`, `6h`, `8d`: a whole number and a unit.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    const REMEDY: &str = "Write a whole number and a unit, like 500ms, 15s, 2m, 6h or 8d";
    let (number, unit) = amount(text);
    let millis_each: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if number.is_some() => {
            return Err(Wrong::new(format!("{} has no unit", shown(text)), REMEDY));
        }
        _ => return Err(Wrong::new(format!("{} is not a duration", shown(text)), REMEDY)),
    };
    let millis = number.and_then(|number| number.checked_mul(millis_each));
    let millis = millis.ok_or_else(|| Wrong::new(format!("{} is not a duration", shown(text)), REMEDY))?;
    Ok(Duration::from_millis(millis))
}

/// `50/s`, `600/m`, `10000/h`; `none` for no bound.
pub(super) fn rate(text: &str) -> Result<Option<Rate>, Wrong> {
    if text == "none" {
        return Ok(None);
    }
    let wrong = || {
        Wrong::new(
            format!("{} is not a rate", shown(text)),
            "Write how many per second, minute or hour, like 50/s, 600/m or 10000/h, or none",
        )
    };
    let (count, per) = text.split_once('/').ok_or_else(wrong)?;
    let seconds = match per.trim_start() {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(wrong()),
    };
    let (count, rest) = amount(count.trim_end());
    let count = count.filter(|_| rest.is_empty()).and_then(|count| u32::try_from(count).ok());
    let count = count.filter(|count| *count > 0).ok_or_else(wrong)?;
    Ok(Some(Rate { attempts: count, per: Duration::from_secs(seconds) }))
}

/// `4194304`, `4096 KiB`, `4MiB`, `1GiB`, `1TiB`: bytes.
pub(super) fn bytes(text: &str) -> Result<usize, Wrong> {
    let (number, unit) = amount(text);
    let shift = match unit {
        "" | "B" => Some(0),
        "KiB" => Some(10),
        "MiB" => Some(20),
        "GiB" => Some(30),
        "TiB" => Some(40),
        _ => None,
    };
    let bytes = number.zip(shift).and_then(|(number, shift)| number.checked_mul(1 << shift));
    bytes.and_then(|bytes| usize::try_from(bytes).ok()).ok_or_else(|| {
        Wrong::new(
            format!("{} is not a size", shown(text)),
            "Write a number of bytes, or like 512KiB or 4MiB",
        )
    })
}

/// The whole number in front, if it is one, and what follows it.
fn amount(text: &str) -> (Option<u64>, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].parse().ok(), text[end..].trim_start())
}

/// A duration as it would be written, for people.
pub(super) fn written(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, each) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis > 0 && millis.is_multiple_of(each) {
            return format!("{}{unit}", millis / each);
        }
    }
    format!("{millis}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_whole_number_and_a_unit() {
        for (text, millis) in [
            ("500ms", 500),
            ("15s", 15_000),
            ("2m", 120_000),
            ("6h", 21_600_000),
            ("8d", 691_200_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text).unwrap().as_millis(), millis, "{text}");
            assert_eq!(duration(&written(Duration::from_millis(millis as u64))).unwrap().as_millis(), millis);
        }
        for text in [
            "",
            "s",
            "15",
            "-1s",
            "1.5s",
            "1h30m",
            "1 year",
            "15 S",
            "١s",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(duration(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn rates_are_a_count_per_second_minute_or_hour() {
        assert_eq!(rate("50/s").unwrap(), Some(Rate { attempts: 50, per: Duration::from_secs(1) }));
        assert_eq!(rate("600 / m").unwrap(), Some(Rate { attempts: 600, per: Duration::from_secs(60) }));
        assert_eq!(rate("none").unwrap(), None);
        for text in ["", "50", "0/s", "/s", "50/", "50/d", "-1/s", "5000000000/s", "1.5/s", "1s/s"] {
            assert!(rate(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn sizes_are_bytes_or_binary_multiples() {
        assert_eq!(bytes("4194304").unwrap(), 4 << 20);
        assert_eq!(bytes("4 MiB").unwrap(), 4 << 20);
        assert_eq!(bytes("512KiB").unwrap(), 512 << 10);
        assert_eq!(bytes("2TiB").unwrap(), 2 << 40);
        for text in ["", "4MB", "MiB", "-1", "1.5MiB", "18446744073709551615KiB"] {
            assert!(bytes(text).is_err(), "{text:?} was accepted");
        }
    }
}
