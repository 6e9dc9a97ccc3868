//! Where one HTTP/1 message ends and the next begins, held to the letter. Pure.
//!
//! hyper is lenient where leniency is how requests are smuggled: it takes a bare LF for a line's end, a `Content-Length` beside
//! a `Transfer-Encoding`, codings before `chunked`, and any number of `Host` lines. Behind a proxy that reads such a message
//! differently, one request becomes two. So the bytes are followed here first, and the first one that breaks the form is
//! reported before hyper sees it (RFC 9112, sections 2.2, 3.2, 6.1, 6.3 and 7.1).

use crate::refusal::Refusal;

/// What is kept of the beginning and of the end of a line that comes in parts. All that is looked at stands there.
const LINE_START_BYTES_MAX: usize = 1024;
const LINE_END_BYTES: usize = 16;
/// Longest line of a chunk's size, extensions included.
const CHUNK_LINE_BYTES_MAX: usize = 256;

/// Follows the bytes that a client sends.
#[derive(Debug)]
pub(crate) struct Framing {
    state: State,
    head_bytes_max: usize,
    /// How much of a head has come.
    head_bytes: usize,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    /// Whether a CR stands in what is not kept of it.
    line_is_odd: bool,
    head: Head,
    requests: u32,
    /// Whether whoever sends the last of them waits to be told to go on.
    expects: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Head,
    Body(u64),
    ChunkSize,
    ChunkData(u64),
    /// After a chunk's data: its CR, then its LF.
    ChunkEnd(u8),
    Trailers,
    /// Not HTTP/1, or over.
    Off,
}

/// What has come of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Since {
    /// Nothing: the last one has ended, and no other has begun.
    Nothing,
    /// Some of a head.
    PartOfHead,
    /// A head, and not all of its body.
    PartOfBody,
    /// All of it, or all that is of any use.
    More,
}

#[derive(Debug, Default)]
struct Head {
    begun: bool,
    is_1_1: bool,
    hosts: u32,
    host_is_odd: bool,
    lengths: u32,
    length: Option<u64>,
    codings: u32,
    chunked: bool,
    expects: bool,
}

impl Framing {
    /// Lets no head be larger than this.
    pub(crate) fn new(head_bytes_max: usize) -> Self {
        Self {
            state: State::default(),
            head_bytes_max,
            head_bytes: 0,
            line: Vec::new(),
            line_is_odd: false,
            head: Head::default(),
            requests: 0,
            expects: false,
        }
    }

    /// Follows these bytes.
    ///
    /// # Errors
    ///
    /// The place of the byte that breaks the form, and what to answer. Nothing can be followed after that.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Result<(), (usize, Refusal)> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match self.state {
                State::Off => return Ok(()),
                State::Body(left) => {
                    let taken = passed(left, rest);
                    at += taken;
                    let left = left - taken as u64;
                    self.state = if left == 0 { State::Head } else { State::Body(left) };
                }
                State::ChunkData(left) => {
                    let taken = passed(left, rest);
                    at += taken;
                    let left = left - taken as u64;
                    self.state = if left == 0 { State::ChunkEnd(b'\r') } else { State::ChunkData(left) };
                }
                State::ChunkEnd(expected) => {
                    if rest[0] != expected {
                        self.state = State::Off;
                        return Err((at, Refusal::BodyBroken));
                    }
                    at += 1;
                    self.state = if expected == b'\r' { State::ChunkEnd(b'\n') } else { State::ChunkSize };
                }
                State::Head | State::ChunkSize | State::Trailers => match self.follow_line(rest) {
                    Ok(taken) => at += taken,
                    Err((place, refusal)) => {
                        self.state = State::Off;
                        return Err((at + place, refusal));
                    }
                },
            }
        }
        Ok(())
    }

    /// How many requests came whole, if nothing came after them; a number that none can be else.
    pub(crate) fn whole(&self) -> u32 {
        if self.state == State::Head && self.head_bytes == 0 { self.requests } else { u32::MAX }
    }

    /// Of so many requests known already: what has come since.
    pub(crate) fn since(&self, known: u32) -> Since {
        match (self.requests.wrapping_sub(known), self.state) {
            (_, State::Off) => Since::More,
            (0, State::Head) if self.head_bytes == 0 => Since::Nothing,
            (0, State::Head) => Since::PartOfHead,
            (1, State::Head) => Since::More,
            // Whoever sends it waits to be told to go on.
            _ if self.expects => Since::More,
            (1, State::Body(_)) => Since::PartOfBody,
            (1, State::ChunkSize | State::ChunkData(_) | State::ChunkEnd(_) | State::Trailers) => {
                Since::PartOfBody
            }
            _ => Since::More,
        }
    }

    /// Follows a line as far as it has come, and says how far that is.
    fn follow_line(&mut self, rest: &[u8]) -> Result<usize, (usize, Refusal)> {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(rest.len(), |end| end + 1);
        if self.state == State::Head {
            let left = self.head_bytes_max - self.head_bytes;
            if taken > left {
                return Err((left, self.too_large(rest)));
            }
            self.head_bytes += taken;
        }
        let Some(end) = end else {
            self.hold(rest);
            return Ok(taken);
        };
        let outcome = if self.line.is_empty() {
            self.take_line(&rest[..end])
        } else {
            self.hold(&rest[..end]);
            let line = std::mem::take(&mut self.line);
            self.take_line(&line)
        };
        outcome.map(|()| taken).map_err(|refusal| (end, refusal))
    }

    /// Keeps a part of a line.
    fn hold(&mut self, part: &[u8]) {
        self.line.extend_from_slice(part);
        let end = self.line.len().saturating_sub(LINE_END_BYTES);
        if end > LINE_START_BYTES_MAX {
            self.line_is_odd |= self.line.drain(LINE_START_BYTES_MAX..end).any(|byte| byte == b'\r');
            self.line.shrink_to(LINE_START_BYTES_MAX + LINE_END_BYTES);
        }
    }

    /// What is too large of a head of which this comes next.
    fn too_large(&self, rest: &[u8]) -> Refusal {
        let is_target = !self.head.begun && (self.line.contains(&b' ') || rest.contains(&b' '));
        if is_target { Refusal::TargetTooLong } else { Refusal::HeadTooLarge }
    }

    /// Takes a line without its LF.
    fn take_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let in_head = self.state == State::Head;
        let fault = if in_head { Refusal::HeadMalformed } else { Refusal::BodyBroken };
        let is_odd = std::mem::take(&mut self.line_is_odd);
        let Some(line) = line.strip_suffix(b"\r").filter(|line| !is_odd && !line.contains(&b'\r')) else {
            return Err(fault);
        };
        match self.state {
            State::Head => self.take_head_line(line),
            State::ChunkSize => {
                let size = chunk_size(line).ok_or(fault)?;
                self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
                Ok(())
            }
            _ => {
                if line.is_empty() {
                    self.state = State::Head;
                }
                Ok(())
            }
        }
    }

    fn take_head_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        if !self.head.begun {
            // Empty lines before a request are passed over (RFC 9112, section 2.2).
            if line.is_empty() {
                return Ok(());
            }
            self.head = Head { begun: true, is_1_1: line.ends_with(b" HTTP/1.1"), ..Head::default() };
            if self.requests == 0 && line == b"PRI * HTTP/2.0" {
                self.state = State::Off;
            }
            return Ok(());
        }
        if line.is_empty() {
            self.requests = self.requests.wrapping_add(1);
            self.expects = self.head.expects;
            self.head_bytes = 0;
            self.state = std::mem::take(&mut self.head).end()?;
            return Ok(());
        }
        self.head.note(line);
        Ok(())
    }
}

impl Head {
    fn note(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // Of such a line the middle may not have been kept; nobody honest writes these lines so long.
        let is_overlong = line.len() > LINE_START_BYTES_MAX;
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.hosts += 1;
                self.host_is_odd |= is_overlong || !is_host(value);
            }
            6 if name.eq_ignore_ascii_case(b"expect") => self.expects = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                self.lengths += 1;
                self.length = decimal(value).filter(|_| !is_overlong);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.codings += 1;
                self.chunked = !is_overlong && value.eq_ignore_ascii_case(b"chunked");
            }
            _ => {}
        }
    }

    /// What follows the head.
    fn end(&self) -> Result<State, Refusal> {
        // None is needed before HTTP/1.1, and two are never right (RFC 9112, section 3.2).
        if self.hosts > 1 || self.host_is_odd || (self.hosts == 0 && self.is_1_1) {
            return Err(Refusal::HostMalformed);
        }
        match (self.codings, self.lengths) {
            (0, 0) => Ok(State::Head),
            (0, 1) => match self.length {
                Some(0) => Ok(State::Head),
                Some(length) => Ok(State::Body(length)),
                None => Err(Refusal::LengthAmbiguous),
            },
            (1, 0) if self.is_1_1 && self.chunked => Ok(State::ChunkSize),
            (1, 0) if self.is_1_1 => Err(Refusal::CodingUnknown),
            _ => Err(Refusal::LengthAmbiguous),
        }
    }
}

fn passed(left: u64, rest: &[u8]) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(rest.len())
}

/// A host and a port, with nothing that another reader could take for a user, a path or a second host.
pub(crate) fn is_host(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(byte))
}

fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    if line.len() > CHUNK_LINE_BYTES_MAX {
        return None;
    }
    let digits = line.split(|byte| *byte == b';').next()?;
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framing() -> Framing {
        Framing::new(64 * 1024)
    }

    fn judge(text: &str) -> Result<(), (usize, Refusal)> {
        framing().follow(text.as_bytes())
    }

    fn refused(text: &str) -> Option<Refusal> {
        judge(text).err().map(|(_, refusal)| refusal)
    }

    const HEAD: &str = "POST /x HTTP/1.1\r\nHost: proxy.example.com:443\r\n";

    #[test]
    fn what_is_in_form_passes_request_after_request() {
        let mut framing = framing();
        for text in [
            format!("{HEAD}Content-Length: 3\r\n\r\n\r\n\n"),
            format!("\r\n{HEAD}Transfer-Encoding: Chunked\r\n\r\n3;a=b\r\na\nb\r\n0\r\nX: y\r\n\r\n"),
            format!("{HEAD}\r\n"),
            "GET / HTTP/1.0\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nHost:\r\n\r\nGET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n".to_owned(),
        ] {
            assert_eq!(framing.follow(text.as_bytes()), Ok(()), "{text}");
            assert_eq!(framing.state, State::Head, "{text}");
        }
        assert_eq!(framing.requests, 6);
    }

    #[test]
    fn a_head_is_no_larger_than_it_may_be_however_it_comes() {
        let small = |bytes: &[u8]| {
            let mut framing = Framing::new(64);
            bytes.chunks(7).try_for_each(|part| framing.follow(part)).map_err(|(_, refusal)| refusal)
        };
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(32));
        assert_eq!(head.len(), 64);
        assert_eq!(small(format!("{head}{head}").as_bytes()), Ok(()), "one after the other");
        assert_eq!(small(head.replace("y\r", "yy\r").as_bytes()), Err(Refusal::HeadTooLarge));
        assert_eq!(small(&[b'y'; 65]), Err(Refusal::HeadTooLarge));
        assert_eq!(small(format!("GET /{}", "y".repeat(60)).as_bytes()), Err(Refusal::TargetTooLong));
        assert_eq!(small("\r\n".repeat(33).as_bytes()), Err(Refusal::HeadTooLarge));
        let body = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\n{}", "\n".repeat(90));
        assert_eq!(small(format!("{body}{head}").as_bytes()), Ok(()), "a body is no head");
    }

    #[test]
    fn shapes_that_two_readers_read_differently_are_refused() {
        use Refusal as R;
        for (lines, expected) in [
            ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", R::LengthAmbiguous),
            ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", R::LengthAmbiguous),
            ("Content-Length: 3\r\nContent-Length: 3\r\n\r\n", R::LengthAmbiguous),
            ("Content-Length: 3, 3\r\n\r\n", R::LengthAmbiguous),
            ("Content-Length: +3\r\n\r\n", R::LengthAmbiguous),
            ("Content-Length: -1\r\n\r\n", R::LengthAmbiguous),
            ("Content-Length:\r\n\r\n", R::LengthAmbiguous),
            ("Content-Length: 99999999999999999999999\r\n\r\n", R::LengthAmbiguous),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", R::LengthAmbiguous),
            ("Transfer-Encoding: gzip, chunked\r\n\r\n", R::CodingUnknown),
            ("Transfer-Encoding: xchunked\r\n\r\n", R::CodingUnknown),
            ("Transfer-Encoding: identity\r\n\r\n", R::CodingUnknown),
            ("Transfer-Encoding: \x0bchunked\r\n\r\n", R::CodingUnknown),
            ("Host: other.example.com\r\n\r\n", R::HostMalformed),
            ("X: a\n\r\n", R::HeadMalformed),
            ("X: a\rb\r\n\r\n", R::HeadMalformed),
            ("X: a\r\r\n\r\n", R::HeadMalformed),
            ("X: a\r\n\n", R::HeadMalformed),
            ("Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n", R::BodyBroken),
            ("Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", R::BodyBroken),
            ("Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", R::BodyBroken),
            ("Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", R::BodyBroken),
            ("Transfer-Encoding: chunked\r\n\r\n\r\n", R::BodyBroken),
            ("Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", R::BodyBroken),
            ("Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc", R::BodyBroken),
            ("Transfer-Encoding: chunked\r\n\r\n0\r\nX: a\n\r\n", R::BodyBroken),
        ] {
            assert_eq!(refused(&format!("{HEAD}{lines}")), Some(expected), "{lines:?}");
        }
        for host in
            ["", "Host: a@b\r\n", "Host: a/b\r\n", "Host: a, b\r\n", "Host: a b\r\n", "Host: a%00\r\n"]
        {
            assert_eq!(
                refused(&format!("GET / HTTP/1.1\r\n{host}\r\n")),
                Some(Refusal::HostMalformed),
                "{host}"
            );
        }
        let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(refused(old), Some(Refusal::LengthAmbiguous));
    }

    #[test]
    fn http_2_is_let_be_only_where_a_connection_begins_with_it() {
        let mut framing = framing();
        assert_eq!(framing.follow(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\n\r\x00"), Ok(()));
        assert_eq!(refused(&format!("{HEAD}\r\nPRI * HTTP/2.0\r\n\r\nSM\n")), Some(Refusal::HeadMalformed));
    }

    #[test]
    fn long_lines_in_parts_are_judged_like_whole_ones_and_not_kept() {
        let long = "y".repeat(9_000);
        for (text, expected) in [
            (format!("GET /{long} HTTP/1.1\r\n\r\n"), Some(Refusal::HostMalformed)),
            (format!("GET /{long} HTTP/1.0\r\n\r\n"), None),
            (format!("{HEAD}X: {long}\r\n\r\n"), None),
            (format!("{HEAD}X: {long}\r{long}\r\n\r\n"), Some(Refusal::HeadMalformed)),
            (format!("{HEAD}X: {long}\n\r\n"), Some(Refusal::HeadMalformed)),
            (format!("{HEAD}Content-Length: {}3\r\n\r\n", "0".repeat(9_000)), Some(Refusal::LengthAmbiguous)),
            (
                format!("{HEAD}Transfer-Encoding: chunked{}\r\n\r\n", " ".repeat(9_000)),
                Some(Refusal::CodingUnknown),
            ),
            (format!("{HEAD}Transfer-Encoding: {long}chunked\r\n\r\n"), Some(Refusal::CodingUnknown)),
        ] {
            assert_eq!(refused(&text), expected, "{}", &text[..60]);
            let mut framing = framing();
            let judged = text.as_bytes().chunks(100).find_map(|part| framing.follow(part).err());
            assert!(framing.line.len() <= LINE_START_BYTES_MAX + LINE_END_BYTES);
            assert_eq!(judged.map(|(_, refusal)| refusal), expected, "{}", &text[..60]);
        }
    }

    proptest! {
        #[test]
        fn the_judgement_does_not_depend_on_how_bytes_are_cut(
            lines in proptest::collection::vec(
                prop_oneof![
                    Just("POST / HTTP/1.1\r\n".to_owned()), Just("Host: a\r\n".to_owned()),
                    Just("Content-Length: 4\r\n".to_owned()), Just("Transfer-Encoding: chunked\r\n".to_owned()),
                    Just("\r\n".to_owned()), Just("4\r\nabcd\r\n".to_owned()), Just("0\r\n".to_owned()),
                    Just("\n".to_owned()), Just("\r".to_owned()), "[ -~]{0,6}",
                ],
                0..24,
            ),
            cut in 1usize..9,
        ) {
            let text = lines.concat();
            let whole = judge(&text);
            let (mut framing, mut at) = (framing(), 0);
            let mut in_parts = Ok(());
            for part in text.as_bytes().chunks(cut) {
                if let Err((place, refusal)) = framing.follow(part) {
                    in_parts = Err((at + place, refusal));
                    break;
                }
                at += part.len();
            }
            prop_assert_eq!(whole, in_parts);
        }

        #[test]
        fn no_bytes_make_it_fall(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Err((place, _)) = framing().follow(&bytes) {
                prop_assert!(place < bytes.len());
            }
        }
    }
}
