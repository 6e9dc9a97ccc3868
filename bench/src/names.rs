//! The smallest name server (RFC 1035): one name, one address, so that an nginx whose `proxy_pass`
//! holds a variable, and which therefore must ask a resolver, finds its receiver on loopback.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;

const TTL_SECONDS: u32 = 300;
const HEADER_BYTES: usize = 12;
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;
/// How soon the thread sees that it should end.
const POLL: Duration = Duration::from_millis(100);

/// A name server on its own thread; dropped, it ends.
#[derive(Debug)]
pub(crate) struct Names {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Names {
    /// Serves `name` as 127.0.0.1, and no other name.
    pub(crate) fn start(name: &str) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("binding the name server")?;
        socket.set_read_timeout(Some(POLL))?;
        let address = socket.local_addr()?;
        let ended = Arc::new(AtomicBool::new(false));
        let (flag, name) = (Arc::clone(&ended), name.to_owned());
        let serve = move || {
            let mut query = [0; 512];
            while !flag.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut query)
                    && let Some(answer) = answer(&query[..length], &name)
                {
                    let _ = socket.send_to(&answer, from);
                }
            }
        };
        let thread = thread::Builder::new().name("names".into()).spawn(serve)?;
        Ok(Self { address, ended, thread: Some(thread) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The response to a query of one question; `None` for anything else.
fn answer(query: &[u8], name: &str) -> Option<Vec<u8>> {
    let is_query = query.get(2)? & 0xf8 == 0;
    if !is_query || query.get(4..6)? != [0, 1] {
        return None;
    }
    let (asked, after) = read_name(query, HEADER_BYTES)?;
    let question_end = after + 4;
    let kind = u16::from_be_bytes([*query.get(after)?, *query.get(after + 1)?]);
    let class = u16::from_be_bytes([*query.get(after + 2)?, *query.get(after + 3)?]);
    let known = asked.eq_ignore_ascii_case(name);
    let found = known && kind == TYPE_A && class == CLASS_IN;
    let recursion_desired = query[2] & 1;
    let code = if known { 0 } else { 3 };
    let mut answer = query[..2].to_vec();
    answer.extend([0x84 | recursion_desired, 0x80 | code, 0, 1, 0, u8::from(found), 0, 0, 0, 0]);
    answer.extend_from_slice(&query[HEADER_BYTES..question_end]);
    if found {
        answer.extend([0xc0, HEADER_BYTES as u8]);
        answer.extend(TYPE_A.to_be_bytes());
        answer.extend(CLASS_IN.to_be_bytes());
        answer.extend(TTL_SECONDS.to_be_bytes());
        answer.extend([0, 4]);
        answer.extend(Ipv4Addr::LOCALHOST.octets());
    }
    Some(answer)
}

fn read_name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        if length == 0 {
            return Some((labels.join("."), at + 1));
        }
        // A question carries no compressed name.
        if length > 63 {
            return None;
        }
        labels.push(std::str::from_utf8(message.get(at + 1..at + 1 + length)?).ok()?);
        at += 1 + length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut query = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(label.len() as u8);
            query.extend(label.as_bytes());
        }
        query.push(0);
        query.extend(kind.to_be_bytes());
        query.extend(CLASS_IN.to_be_bytes());
        query
    }

    #[test]
    fn the_one_name_has_one_address() {
        let names = Names::start("up.test").unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut buffer = [0; 512];
        let mut ask = |name: &str, kind: u16| {
            client.send_to(&query(name, kind), names.address()).unwrap();
            let length = client.recv(&mut buffer).unwrap();
            buffer[..length].to_vec()
        };
        let found = ask("UP.test", TYPE_A);
        assert_eq!((&found[..2], found[3] & 15, found[7]), (&[0xab, 0xcd][..], 0, 1));
        assert_eq!(found[found.len() - 4..], [127, 0, 0, 1]);
        let no_ipv6 = ask("up.test", 28);
        assert_eq!((no_ipv6[3] & 15, no_ipv6[7]), (0, 0));
        let unknown = ask("other.test", TYPE_A);
        assert_eq!((unknown[3] & 15, unknown[7]), (3, 0));
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        assert_eq!(answer(&[], "up.test"), None);
        assert_eq!(answer(&[0; 11], "up.test"), None);
        let full = query("up.test", TYPE_A);
        (0..full.len()).for_each(|length| assert_eq!(answer(&full[..length], "up.test"), None));
        let mut response = full;
        response[2] |= 0x80;
        assert_eq!(answer(&response, "up.test"), None);
    }
}
