//! Readers of the gateway's stream: thousands of WebSocket connections on one thread, as little work for each frame as
//! counting it can cost, since they share the machine with what they measure.
//!
//! Every reader's frames are counted; of a few, each frame is read: whether it came once, and how long after its
//! webhook was due.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::histogram::Histogram;
use crate::ids::IdSet;
use crate::stopwatch::now_ns;
use crate::webhook;

/// Where a stream is read.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    /// The address.
    pub(crate) address: SocketAddr,
    /// What admits a reader.
    pub(crate) token: String,
}

/// Of so many readers one is looked at closely.
const CLOSELY_ONE_IN: usize = 100;
const EVENTS_AT_ONCE: usize = 512;
const SCRATCH_BYTES: usize = 256 * 1024;
const WAIT: Duration = Duration::from_millis(20);
/// How long a reader waits to be let in.
const OPEN_TIME_MAX: Duration = Duration::from_secs(10);
/// RFC 6455, section 5.2: a whole text message.
const TEXT: u8 = 0x81;
/// The same, section 5.5.1.
const CLOSE: u8 = 0x88;

/// What readers saw.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// From the moment a webhook was due until its frame was read, by those that are looked at closely.
    pub(crate) latency: Histogram,
    /// Fewest and most frames that any reader got.
    pub(crate) frames: (u64, u64),
    /// Events, of those that were read closely, that came twice, or were not seen by one of them and were by another.
    pub(crate) faults: u64,
}

/// Readers at work.
#[derive(Debug)]
pub(crate) struct Readers {
    stop: Arc<AtomicBool>,
    frames: Arc<AtomicU64>,
    thread: JoinHandle<anyhow::Result<Seen>>,
}

impl Readers {
    /// Connects so many readers and lets them read. Webhooks are numbered from `id_base`.
    pub(crate) fn start(stream: &Stream, count: usize, id_base: u64) -> anyhow::Result<Self> {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).context("raising the limit on open files")?;
        let readers: Vec<Reader> = (0..count)
            .map(|number| Reader::open(stream, number.is_multiple_of(CLOSELY_ONE_IN), id_base))
            .collect::<Result<_, _>>()
            .context("connecting the readers")?;
        let (stop, frames) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&frames));
        let thread = thread::Builder::new()
            .name("readers".into())
            .spawn(move || read_all(readers, &stopped, &counted))
            .context("starting the readers' thread")?;
        Ok(Self { stop, frames, thread })
    }

    /// Frames that all readers together have got so far.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Ends them.
    pub(crate) fn end(self) -> anyhow::Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| bail!("the readers' thread died"))
    }
}

struct Reader {
    socket: TcpStream,
    frames: u64,
    /// Of the frame at hand: the bytes of its head so far, and how much of its payload is to come.
    head: Vec<u8>,
    left: u64,
    closely: Option<Closely>,
}

/// What is kept of a reader that is looked at closely.
struct Closely {
    payload: Vec<u8>,
    seen: IdSet,
    faults: u64,
    latency: Histogram,
}

impl Reader {
    fn open(stream: &Stream, closely: bool, id_base: u64) -> anyhow::Result<Self> {
        let mut socket = TcpStream::connect(stream.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(OPEN_TIME_MAX))?;
        write!(
            socket,
            "GET /ws?types=message:new HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            stream.address, stream.token
        )?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            ensure!(socket.read(&mut byte)? == 1, "closed before it was let in");
            head.push(byte[0]);
        }
        ensure!(head.starts_with(b"HTTP/1.1 101"), "not let in: {}", String::from_utf8_lossy(&head));
        socket.set_nonblocking(true)?;
        let closely = closely.then(|| Closely {
            payload: Vec::new(),
            seen: IdSet::from_base(id_base),
            faults: 0,
            latency: Histogram::default(),
        });
        Ok(Self { socket, frames: 0, head: Vec::with_capacity(10), left: 0, closely })
    }

    /// Takes what was read. Answers with the frames that ended in it.
    fn feed(&mut self, mut bytes: &[u8]) -> anyhow::Result<u64> {
        let before = self.frames;
        while !bytes.is_empty() {
            if self.left > 0 {
                let (here, rest) = bytes.split_at(bytes.len().min(usize::try_from(self.left)?));
                if let Some(closely) = &mut self.closely {
                    closely.payload.extend_from_slice(here);
                }
                self.left -= here.len() as u64;
                bytes = rest;
                if self.left == 0 {
                    self.whole();
                }
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            if let Some(length) = payload_length(&self.head) {
                ensure!(self.head[0] != CLOSE, "the gateway cut a reader off");
                self.left = length;
                if length == 0 {
                    self.whole();
                }
            }
        }
        Ok(self.frames - before)
    }

    fn whole(&mut self) {
        let is_text = self.head.first() == Some(&TEXT);
        self.head.clear();
        self.frames += u64::from(is_text);
        let Some(closely) = &mut self.closely else { return };
        if let Some(mark) = webhook::mark(&closely.payload).filter(|_| is_text)
            && !closely.seen.begins_after(mark.id)
        {
            let is_new = closely.seen.insert(mark.id);
            closely.faults += u64::from(!is_new);
            closely.latency.record(now_ns().saturating_sub(mark.sent_ns));
        }
        closely.payload.clear();
    }
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The length of a frame's payload, once its head is whole (RFC 6455, section 5.2; a server masks nothing).
fn payload_length(head: &[u8]) -> Option<u64> {
    match (*head.get(1)?, &head[2..]) {
        (126, rest) => Some(u64::from(u16::from_be_bytes(rest.try_into().ok()?))),
        (127, rest) => Some(u64::from_be_bytes(rest.try_into().ok()?)),
        (length, []) => Some(u64::from(length)),
        _ => None,
    }
}

fn read_all(mut readers: Vec<Reader>, stop: &AtomicBool, frames: &AtomicU64) -> anyhow::Result<Seen> {
    let epoll: OwnedFd = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (index, reader) in readers.iter().enumerate() {
        epoll::add(&epoll, reader, EventData::new_u64(index as u64), EventFlags::IN)?;
    }
    let mut scratch = vec![0; SCRATCH_BYTES];
    let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
    let wait = Timespec { tv_sec: 0, tv_nsec: WAIT.subsec_nanos().into() };
    while !stop.load(Ordering::Relaxed) {
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for frames"),
        }
        for event in events.drain(..) {
            let Some(reader) = readers.get_mut(usize::try_from(event.data.u64())?) else { continue };
            match reader.socket.read(&mut scratch) {
                Ok(0) => bail!("the gateway closed a reader's connection"),
                Ok(read) => {
                    frames.fetch_add(reader.feed(&scratch[..read])?, Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("reading frames"),
            }
        }
    }
    let counts = readers.iter().map(|reader| reader.frames);
    let frames = (counts.clone().min().unwrap_or(0), counts.max().unwrap_or(0));
    let mut latency = Histogram::default();
    let mut faults = 0;
    let most =
        readers.iter().filter_map(|reader| Some(reader.closely.as_ref()?.seen.len())).max().unwrap_or(0);
    for closely in readers.iter().filter_map(|reader| reader.closely.as_ref()) {
        latency.add(&closely.latency);
        faults += closely.faults + (most - closely.seen.len());
    }
    Ok(Seen { latency, frames, faults })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frames_length_is_known_once_its_head_is_whole() {
        assert_eq!(payload_length(&[TEXT]), None);
        assert_eq!(payload_length(&[TEXT, 5]), Some(5));
        assert_eq!(payload_length(&[TEXT, 126, 1]), None);
        assert_eq!(payload_length(&[TEXT, 126, 1, 2]), Some(258));
        assert_eq!(payload_length(&[TEXT, 127, 0, 0, 0, 0, 0, 1, 0, 0]), Some(65_536));
    }
}
