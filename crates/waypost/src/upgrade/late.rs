//! What comes to a process that no longer keeps anything: its successor keeps it, and says so.
//!
//! One after the other over the stream between the two: arrivals one way, a byte for each the other way, in their order. The
//! successor proves each anew, with its own secrets.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use waypost_domain::HeaderBlock;
use waypost_engine::intake::Arrival;

use super::channel::Channel;

/// Arrivals under way at once.
const UNDER_WAY_MAX: usize = 256;
/// Longest part of an arrival. Bodies are the longest, and their limit can be set higher than anybody should.
const PART_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// What is said of each.
const KEPT: u8 = b'+';
const NOT_KEPT: u8 = b'-';

/// An arrival as it is passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Late {
    /// The source's name.
    pub(crate) source: Arc<str>,
    /// The callback address.
    pub(crate) scope: Arc<str>,
    /// The path and query for the receivers.
    pub(crate) target: String,
    /// The headers, the signature among them.
    pub(crate) headers: HeaderBlock,
    /// The body.
    pub(crate) body: Bytes,
}

impl Late {
    pub(super) fn of(arrival: &Arrival) -> Self {
        let Arrival { source, scope, target, headers, proved } = arrival;
        Self {
            source: source.clone(),
            scope: scope.clone(),
            target: target.clone(),
            headers: headers.clone(),
            body: proved.body().clone(),
        }
    }

    /// What it weighs.
    pub(super) fn len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    fn parts(&self) -> [&[u8]; 5] {
        let Self { source, scope, target, headers, body } = self;
        [source.as_bytes(), scope.as_bytes(), target.as_bytes(), headers.as_bytes(), body]
    }

    async fn write(&self, to: &mut OwnedWriteHalf) -> io::Result<()> {
        let mut head = Vec::new();
        for part in self.parts() {
            let length = u32::try_from(part.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
            head.extend_from_slice(&length.to_be_bytes());
        }
        let (body, others) = (&self.body, &self.parts()[..4]);
        head.extend(others.iter().flat_map(|part| part.iter().copied()));
        to.write_all(&head).await?;
        to.write_all(body).await
    }

    /// The next one; none once the other end has ended.
    async fn read(from: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Self>> {
        let mut lengths = [0_usize; 5];
        for (place, length) in lengths.iter_mut().enumerate() {
            *length = match from.read_u32().await {
                Ok(length) => usize::try_from(length).unwrap_or(usize::MAX),
                Err(error) if place == 0 && error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error),
            };
            if *length > PART_BYTES_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        let mut parts: [Vec<u8>; 5] = Default::default();
        for (part, length) in parts.iter_mut().zip(lengths) {
            // As it comes, not as it is announced.
            from.take(length as u64).read_to_end(part).await?;
            if part.len() != length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let [source, scope, target, headers, body] = parts;
        let text = |bytes| String::from_utf8(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
        Ok(Some(Self {
            source: text(source)?.into(),
            scope: text(scope)?.into(),
            target: text(target)?,
            headers: HeaderBlock::from_bytes(headers),
            body: body.into(),
        }))
    }
}

/// The way to a successor. Cheap to clone.
#[derive(Clone)]
pub(super) struct Passage {
    going: mpsc::Sender<(Late, oneshot::Sender<bool>)>,
    ended: CancellationToken,
}

impl Passage {
    /// Over this stream.
    pub(super) fn open(channel: Channel) -> Self {
        let (going, mut leaving) = mpsc::channel::<(Late, oneshot::Sender<bool>)>(UNDER_WAY_MAX);
        let (awaiting, mut awaited) = mpsc::channel::<oneshot::Sender<bool>>(UNDER_WAY_MAX);
        let ended = CancellationToken::new();
        let Channel { mut read, mut write } = channel;
        let gone = ended.clone();
        tokio::spawn(async move {
            while let Ok(said) = read.read_u8().await {
                let Some(answer) = awaited.recv().await else { break };
                let _ = answer.send(said == KEPT);
            }
            gone.cancel();
        });
        let gone = ended.clone();
        tokio::spawn(async move {
            while let Some((late, answer)) = leaving.recv().await {
                if awaiting.send(answer).await.is_err() || late.write(&mut write).await.is_err() {
                    break;
                }
            }
            gone.cancel();
        });
        Self { going, ended }
    }

    /// Whether the successor kept it.
    pub(super) async fn take(&self, late: Late) -> bool {
        let (answer, answered) = oneshot::channel();
        self.going.send((late, answer)).await.is_ok() && answered.await.unwrap_or(false)
    }

    /// Waits until it leads nowhere any more.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

/// Keeps what our predecessor passes on until there is no more of it.
pub(crate) async fn receive<F>(from: Channel, keep: impl Fn(Late) -> F)
where
    F: Future<Output = bool> + Send + 'static,
{
    let Channel { mut read, mut write } = from;
    let (keeping, mut kept) = mpsc::channel::<tokio::task::JoinHandle<bool>>(UNDER_WAY_MAX);
    let answering = tokio::spawn(async move {
        while let Some(task) = kept.recv().await {
            let said = if task.await.unwrap_or(false) { KEPT } else { NOT_KEPT };
            if write.write_u8(said).await.is_err() {
                return;
            }
        }
    });
    loop {
        match Late::read(&mut read).await {
            Ok(Some(late)) => {
                if keeping.send(tokio::spawn(keep(late))).await.is_err() {
                    break;
                }
            }
            Ok(None) => break,
            Err(error) => {
                tracing::error!(%error, "the former process passes on what makes no sense");
                break;
            }
        }
    }
    drop(keeping);
    let _ = answering.await;
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::Mutex;

    use super::*;

    fn late(number: usize) -> Late {
        let mut headers = HeaderBlock::new();
        headers.push("x-number", number.to_string().as_bytes());
        Late {
            source: "a source".into(),
            scope: "somewhere/else".into(),
            target: format!("/path?n={number}"),
            headers,
            body: vec![b'x'; number * 1000].into(),
        }
    }

    #[tokio::test]
    async fn what_is_passed_on_arrives_as_it_was_and_each_hears_its_own_answer() {
        let (one, other) = UnixStream::pair().unwrap();
        let passage = Passage::open(Channel::new(one).unwrap());
        let seen: Arc<Mutex<Vec<Late>>> = Arc::default();
        let seeing = seen.clone();
        let keep = move |late: Late| {
            let is_kept = late.body.len().is_multiple_of(3000);
            seeing.lock().unwrap().push(late);
            async move { is_kept }
        };
        let received = tokio::spawn(receive(Channel::new(other).unwrap(), keep));
        let answers = (0..60).map(|number| {
            let passage = passage.clone();
            tokio::spawn(async move { passage.take(late(number)).await })
        });
        for (number, answer) in answers.collect::<Vec<_>>().into_iter().enumerate() {
            assert_eq!(answer.await.unwrap(), number % 3 == 0, "{number}");
        }
        for number in 0..60 {
            assert!(seen.lock().unwrap().contains(&late(number)), "{number}");
        }
        drop(passage);
        received.await.unwrap();
    }

    #[tokio::test]
    async fn a_successor_that_dies_keeps_nothing_and_holds_nobody_up() {
        let (one, other) = UnixStream::pair().unwrap();
        let passage = Passage::open(Channel::new(one).unwrap());
        let taking = tokio::spawn({
            let passage = passage.clone();
            async move { passage.take(late(3)).await }
        });
        tokio::task::yield_now().await;
        drop(other);
        assert!(!taking.await.unwrap());
        passage.ended().await;
        assert!(!passage.take(late(1)).await);
    }
}
