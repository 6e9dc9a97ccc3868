//! Lists of networks: whose word is taken about a caller's address, and from where Meta calls.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::limits::{PREFIX_FILE_BYTES_MAX, PREFIXES_MAX};

/// Networks, merged and sorted. An IPv4 address and the IPv6 address that embeds it are the same.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Prefixes(Box<[(u128, u128)]>);

impl Prefixes {
    /// These networks, each written like `192.0.2.0/24`, `2001:db8::/32` or a bare address.
    ///
    /// # Errors
    ///
    /// When one is none of these.
    pub fn of<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, PrefixError> {
        let ranges = texts.into_iter().map(|text| range(text.as_ref().trim()));
        Ok(Self::merged(ranges.collect::<Result<_, _>>()?))
    }

    /// The networks in a file, one a line. Of a line with commas or spaces the first field counts, and of the lines of a
    /// routing registry (`route: 192.0.2.0/24`) the second; so both Meta's geofeed and a registry's answer can be used
    /// as they come. Empty lines and what follows `#` are passed over.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, holds no network, or holds something else.
    pub fn from_file(path: &Path) -> Result<Self, PrefixFileError> {
        let unreadable = |source| PrefixFileError::Unreadable { path: path.to_owned(), source };
        let bytes_len = std::fs::metadata(path).map_err(unreadable)?.len();
        if bytes_len > PREFIX_FILE_BYTES_MAX {
            return Err(PrefixFileError::TooLarge { path: path.to_owned() });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::of_lines(path, &text)
    }

    /// The networks in the text of this file, as [`Prefixes::from_file`] reads it.
    ///
    /// # Errors
    ///
    /// When it holds no network, or something else.
    pub fn of_lines(path: &Path, text: &str) -> Result<Self, PrefixFileError> {
        let mut ranges = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            let line =
                line.strip_prefix("route:").or_else(|| line.strip_prefix("route6:")).unwrap_or(line).trim();
            let Some(field) = line.split([',', ' ', '\t']).next().filter(|field| !field.is_empty()) else {
                continue;
            };
            let found = range(field).map_err(|error| PrefixFileError::Line {
                path: path.to_owned(),
                line: at + 1,
                error,
            })?;
            ranges.push(found);
        }
        if ranges.is_empty() {
            return Err(PrefixFileError::Empty { path: path.to_owned() });
        }
        if ranges.len() > PREFIXES_MAX {
            return Err(PrefixFileError::TooLarge { path: path.to_owned() });
        }
        Ok(Self::merged(ranges))
    }

    /// Whether the address is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = bits(address);
        let after = self.0.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, last)| address <= *last)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn merged(mut ranges: Vec<(u128, u128)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged.into())
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => u128::from(four.to_ipv6_mapped()),
        IpAddr::V6(six) => u128::from(six),
    }
}

fn range(text: &str) -> Result<(u128, u128), PrefixError> {
    let fault = || PrefixError { text: text.chars().take(64).collect() };
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address = IpAddr::from_str(address).map_err(|_| fault())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        Some(length) => length.parse::<u32>().ok().filter(|length| *length <= longest).ok_or_else(fault)?,
        None => longest,
    };
    let free = longest - length;
    let mask = if free == 128 { u128::MAX } else { (1 << free) - 1 };
    let first = bits(address);
    if first & mask != 0 {
        return Err(fault());
    }
    Ok((first, first | mask))
}

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no network; write one like 192.0.2.0/24 or 2001:db8::/32, with no bits set past its length"
)]
pub struct PrefixError {
    text: String,
}

/// A file of networks that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrefixFileError {
    /// The file is not there or may not be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Far larger than any list of one company's networks.
    #[error("{}: this is too much for a list of networks", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// No network in it: everybody would be refused.
    #[error("{}: no network in this file", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A line that is none.
    #[error("{}:{line}: {error}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        error: PrefixError,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_in_their_networks_and_in_no_others() {
        let prefixes =
            Prefixes::of(["203.0.113.0/24", "203.0.114.0/24", "198.51.100.7", "2001:db8::/33"]).unwrap();
        for inside in
            ["203.0.113.0", "203.0.114.255", "198.51.100.7", "2001:db8:7fff::1", "::ffff:203.0.113.9"]
        {
            assert!(prefixes.contains(ip(inside)), "{inside}");
        }
        for outside in ["203.0.112.255", "203.0.115.0", "198.51.100.8", "2001:db8:8000::", "::1"] {
            assert!(!prefixes.contains(ip(outside)), "{outside}");
        }
        assert!(Prefixes::of(["0.0.0.0/0"]).unwrap().contains(ip("255.255.255.255")));
        assert!(!Prefixes::of(["0.0.0.0/0"]).unwrap().contains(ip("2001:db8::1")));
        assert!(Prefixes::of(["::/0"]).unwrap().contains(ip("2001:db8::1")));
        assert!(!Prefixes::default().contains(ip("127.0.0.1")));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "203.0.113.0/33",
            "203.0.113.1/24",
            "2001:db8::/129",
            "example.com",
            "1.2.3",
            "1.2.3.4/",
            "1.2.3.4/-1",
        ] {
            assert!(Prefixes::of([text]).is_err(), "{text}");
        }
    }

    #[test]
    fn files_are_read_as_meta_and_registries_publish_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        let text = "# prefix,country,region,city\n203.0.113.0/24,US,US-CA,Menlo Park\n\nroute:      198.51.100.0/24\n\
                    route6:     2001:db8::/32 # here\n";
        std::fs::write(&path, text).unwrap();
        let prefixes = Prefixes::from_file(&path).unwrap();
        for inside in ["203.0.113.4", "198.51.100.4", "2001:db8::4"] {
            assert!(prefixes.contains(ip(inside)));
        }
        std::fs::write(&path, "203.0.113.0/24\nnonsense\n").unwrap();
        assert!(Prefixes::from_file(&path).unwrap_err().to_string().contains(":2: `nonsense`"));
        std::fs::write(&path, "# nothing\n").unwrap();
        assert!(Prefixes::from_file(&path).is_err());
    }

    proptest! {
        #[test]
        fn merging_changes_no_answer(
            networks in proptest::collection::vec((any::<u32>(), 0u32..=32), 1..20),
            asked in any::<u32>(),
        ) {
            let networks: Vec<_> = networks
                .into_iter()
                .map(|(bits, length)| (bits & u32::MAX.checked_shl(32 - length).unwrap_or(0), length))
                .collect();
            let texts = networks.iter().map(|(bits, length)| format!("{}/{length}", std::net::Ipv4Addr::from(*bits)));
            let prefixes = Prefixes::of(texts).unwrap();
            let naive = networks.iter().any(|(bits, length)| {
                asked & u32::MAX.checked_shl(32 - length).unwrap_or(0) == *bits
            });
            prop_assert_eq!(prefixes.contains(std::net::Ipv4Addr::from(asked).into()), naive);
        }
    }
}
