//! Just enough of HTTP/1.1 to know a response's status, its end, and whether the connection stays
//! (RFC 9112, sections 6 and 9).

use std::io;

/// Longest response head that is believed.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A response that has come whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The server will take no more requests on this connection.
    pub(crate) close: bool,
}

/// Reads one response after another from the bytes of a connection.
#[derive(Debug, Default)]
pub(crate) struct ResponseReader {
    /// A head, or a chunk's size line, that has come in part.
    partial: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Head,
    Body {
        answer: Answer,
        rest: Rest,
    },
}

#[derive(Clone, Copy, Debug)]
enum Rest {
    Length(u64),
    /// In a chunk: so many bytes are left of it, its line end included.
    Chunk(u64),
    ChunkSize,
    /// After the last chunk: trailers, until an empty line.
    Trailers,
    UntilClosed,
}

impl ResponseReader {
    /// Takes what was read. One request is outstanding at a time, so one response is what comes.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> io::Result<Option<Answer>> {
        while !bytes.is_empty() {
            match self.state {
                State::Head => {
                    let Some(head) = self.take_line(&mut bytes, b"\r\n\r\n")? else { return Ok(None) };
                    match parse_head(&head)? {
                        None => {}
                        Some((answer, Rest::Length(0))) => return Ok(Some(answer)),
                        Some((answer, rest)) => self.state = State::Body { answer, rest },
                    }
                }
                State::Body { answer, rest } => match self.body(rest, &mut bytes)? {
                    Some(rest) => self.state = State::Body { answer, rest },
                    None => {
                        self.state = State::Head;
                        return Ok(Some(answer));
                    }
                },
            }
        }
        Ok(None)
    }

    /// The connection has ended: the response that its end completes, if there is one.
    pub(crate) fn finish(&mut self) -> Option<Answer> {
        match std::mem::take(&mut self.state) {
            State::Body { answer, rest: Rest::UntilClosed } => Some(answer),
            _ => None,
        }
    }

    fn body(&mut self, rest: Rest, bytes: &mut &[u8]) -> io::Result<Option<Rest>> {
        let mut skip = |left: u64| {
            let taken = left.min(bytes.len() as u64);
            *bytes = &bytes[taken as usize..];
            left - taken
        };
        Ok(match rest {
            Rest::UntilClosed => {
                *bytes = &[];
                Some(Rest::UntilClosed)
            }
            Rest::Length(left) => Some(skip(left)).filter(|left| *left > 0).map(Rest::Length),
            Rest::Chunk(left) => match skip(left) {
                0 => Some(Rest::ChunkSize),
                left => Some(Rest::Chunk(left)),
            },
            Rest::ChunkSize => match self.take_line(bytes, b"\r\n")? {
                None => Some(Rest::ChunkSize),
                Some(line) => match chunk_size(&line)? {
                    0 => Some(Rest::Trailers),
                    size => Some(Rest::Chunk(size + 2)),
                },
            },
            Rest::Trailers => match self.take_line(bytes, b"\r\n")? {
                Some(line) if line == b"\r\n" => None,
                _ => Some(Rest::Trailers),
            },
        })
    }

    /// The bytes up to and with `end`, once all have come.
    fn take_line(&mut self, bytes: &mut &[u8], end: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let from = self.partial.len().saturating_sub(end.len() - 1);
        let before = self.partial.len();
        self.partial.extend_from_slice(bytes);
        let found = self.partial[from..].windows(end.len()).position(|window| window == end);
        if let Some(at) = found {
            let whole = from + at + end.len();
            *bytes = &bytes[whole - before..];
            self.partial.truncate(whole);
            return Ok(Some(std::mem::take(&mut self.partial)));
        }
        *bytes = &[];
        if self.partial.len() > HEAD_BYTES_MAX {
            return Err(invalid("a response head without an end"));
        }
        Ok(None)
    }
}

/// `None` for an interim response (1xx).
fn parse_head(head: &[u8]) -> io::Result<Option<(Answer, Rest)>> {
    let text = std::str::from_utf8(head).map_err(|_| invalid("a response head that is not text"))?;
    let mut lines = text.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status: u16 = status_line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| invalid("not an HTTP/1 status line"))?;
    let mut close = status_line.starts_with("HTTP/1.0");
    let mut rest = Rest::UntilClosed;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            rest = Rest::Length(value.parse().map_err(|_| invalid("a content length that is no number"))?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked") {
            rest = Rest::ChunkSize;
        } else if name.eq_ignore_ascii_case("connection") {
            close =
                value.eq_ignore_ascii_case("close") || (close && !value.eq_ignore_ascii_case("keep-alive"));
        }
    }
    Ok(match status {
        100..=199 => None,
        204 | 304 => Some((Answer { status, close }, Rest::Length(0))),
        _ => Some((Answer { status, close: close || matches!(rest, Rest::UntilClosed) }, rest)),
    })
}

fn chunk_size(line: &[u8]) -> io::Result<u64> {
    let text = std::str::from_utf8(line).unwrap_or_default();
    let digits = text.split(';').next().unwrap_or_default().trim();
    u64::from_str_radix(digits, 16)
        .ok()
        .filter(|size| *size < u64::MAX - 2)
        .ok_or_else(|| invalid("a chunk size that is no number"))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the bytes whole, and in pieces of every small size: the answer must be the same.
    fn read(bytes: &[u8]) -> Option<Answer> {
        let whole = ResponseReader::default().feed(bytes).unwrap();
        for piece in 1..9 {
            let mut reader = ResponseReader::default();
            let answers: Vec<_> = bytes.chunks(piece).filter_map(|part| reader.feed(part).unwrap()).collect();
            assert_eq!(answers, Vec::from_iter(whole), "in pieces of {piece}");
        }
        whole
    }

    #[test]
    fn a_length_ends_a_response() {
        let kept = Some(Answer { status: 200, close: false });
        assert_eq!(read(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), kept);
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), kept);
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"), None);
    }

    #[test]
    fn chunks_end_with_their_trailers() {
        let text = b"HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                     5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nX-A: b\r\n\r\n";
        assert_eq!(read(text), Some(Answer { status: 502, close: true }));
    }

    #[test]
    fn the_end_of_the_connection_ends_a_response_of_no_length() {
        let mut reader = ResponseReader::default();
        assert_eq!(reader.feed(b"HTTP/1.0 200 OK\r\n\r\nbytes").unwrap(), None);
        assert_eq!(reader.finish(), Some(Answer { status: 200, close: true }));
        assert_eq!(ResponseReader::default().finish(), None);
    }

    #[test]
    fn interim_responses_are_passed_over() {
        let text = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(read(text), Some(Answer { status: 204, close: false }));
    }

    #[test]
    fn what_is_not_http_is_an_error() {
        assert!(ResponseReader::default().feed(b"SSH-2.0-x\r\n\r\n").is_err());
        assert!(ResponseReader::default().feed(&[b'x'; HEAD_BYTES_MAX + 1]).is_err());
    }
}
