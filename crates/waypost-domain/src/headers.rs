//! The headers kept with a request, as one block of bytes.

/// The header lines that go along with every attempt at a request's deliveries, in the order they
/// came, encoded as `name: value\r\n` lines. Values are kept byte for byte.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct HeaderBlock(Vec<u8>);

impl HeaderBlock {
    /// An empty block.
    pub fn new() -> Self {
        Self::default()
    }

    /// A block from bytes that [`HeaderBlock::as_bytes`] once gave. Broken lines are passed over
    /// when read.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Adds a line. The caller guarantees what HTTP guarantees: no CR or LF in either part, no colon in
    /// the name. A line that breaks this is not added.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        let clean = |bytes: &[u8]| !bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
        if name.is_empty() || name.contains(':') || !clean(name.as_bytes()) || !clean(value) {
            return;
        }
        self.0.reserve(name.len() + value.len() + 4);
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(value);
        self.0.extend_from_slice(b"\r\n");
    }

    /// The lines, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            loop {
                let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
                let line = &rest[..end];
                rest = &rest[end + 2..];
                let colon = line.windows(2).position(|pair| pair == b": ");
                let parts = colon.map(|colon| (std::str::from_utf8(&line[..colon]), &line[colon + 2..]));
                if let Some((Ok(name), value)) = parts {
                    return Some((name, value));
                }
            }
        })
    }

    /// The block as the store keeps it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for HeaderBlock {
    /// Names only: values may hold what must not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_pushed_reads_back_in_order(lines in prop::collection::vec(("[a-zA-Z0-9-]{1,20}", prop::collection::vec(any::<u8>().prop_filter("line end", |b| !matches!(b, b'\r' | b'\n')), 0..40)), 0..12)) {
            let mut block = HeaderBlock::new();
            for (name, value) in &lines {
                block.push(name, value);
            }
            let read: Vec<(String, Vec<u8>)> = block.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
            prop_assert_eq!(read, lines);
        }

        #[test]
        fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = HeaderBlock::from_bytes(bytes).iter().count();
        }
    }

    #[test]
    fn a_line_that_could_smuggle_another_is_not_added() {
        let mut block = HeaderBlock::new();
        block.push("a", b"1\r\nb: 2");
        block.push("a: b\r\nc", b"1");
        assert_eq!(block.iter().count(), 0);
    }
}
