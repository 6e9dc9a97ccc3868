//! Listening sockets handed from one process of ours to the next, so that no connection is lost between the two.
//!
//! The socket itself is passed (`unix(7)`, SCM_RIGHTS), with the connections that wait in it: whoever accepts next gets them.
//! Two sockets on one port (`SO_REUSEPORT`) would not do: what waits in one of them is reset when it is closed.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use crate::listener::Listener;
use crate::supervisor::Inherited;

/// Sockets that are handed over at once; the system has 253.
pub const SOCKETS_MAX: usize = 64;

/// What is said with them, so that neither end takes something else for a handover.
const WORD: &[u8; 16] = b"waypost sockets\n";

/// Hands these listeners to the process at the other end of a Unix socket. They go on being ours, too: what is still
/// accepted here is served here.
///
/// # Errors
///
/// When there are too many, or the other end does not take them.
pub fn give(to: impl AsFd, listeners: &[&Listener]) -> io::Result<()> {
    if listeners.len() > SOCKETS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets to hand over"));
    }
    let sockets: Vec<_> = listeners.iter().map(|listener| listener.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !rights.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets to hand over"));
    }
    let sent = sendmsg(to, &[IoSlice::new(WORD)], &mut rights, SendFlags::NOSIGNAL)?;
    if sent == WORD.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Takes the listeners that the process at the other end hands over. Blocks until it does.
///
/// # Errors
///
/// When the other end ends, or hands over something else.
pub fn take(from: impl AsFd) -> io::Result<Inherited> {
    let mut said = [0; WORD.len()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(from, &mut [IoSliceMut::new(&mut said)], &mut rights, RecvFlags::CMSG_CLOEXEC)?;
    let mut sockets: Vec<OwnedFd> = Vec::new();
    for message in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            sockets.extend(passed);
        }
    }
    if received.bytes != WORD.len() || said != *WORD {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the other process handed over no sockets"));
    }
    Inherited::of(sockets.into_iter().map(TcpListener::from).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn sockets_arrive_with_their_addresses() {
        let (giver, taker) = UnixStream::pair().unwrap();
        let four = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let six = Listener::bind("[::1]:0".parse().unwrap()).unwrap();
        give(&giver, &[&four, &six]).unwrap();
        let taken = take(&taker).unwrap();
        assert_eq!(taken.left(), [four.local_addr().unwrap(), six.local_addr().unwrap()]);
    }

    #[test]
    fn something_else_is_no_handover() {
        let (mut giver, taker) = UnixStream::pair().unwrap();
        giver.write_all(b"hello").unwrap();
        assert!(take(&taker).is_err());
        drop(giver);
        assert!(take(&taker).is_err());
    }
}
