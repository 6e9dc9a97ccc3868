//! Listening sockets handed from one process of ours to the next, so that no connection is lost between the two.
//!
//! The socket itself is passed (`unix(7)`, SCM_RIGHTS), with the connections that wait in it: whoever accepts next gets them.
//! Two sockets on one port (`SO_REUSEPORT`) would not do: what waits in one of them is reset when it is closed.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// Sockets that are handed over at once; the system has 253.
pub const SOCKETS_MAX: usize = 64;

/// What is said with them, so that neither end takes something else for a handover.
const WORD: &[u8; 16] = b"waypost sockets\n";

/// Hands these sockets to the process at the other end of a Unix socket. They go on being ours, too: what is still
/// accepted here is served here.
///
/// # Errors
///
/// When there are too many, or the other end does not take them.
pub fn give(to: impl AsFd, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    if sockets.len() > SOCKETS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets to hand over"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !rights.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets to hand over"));
    }
    let sent = sendmsg(to, &[IoSlice::new(WORD)], &mut rights, SendFlags::NOSIGNAL)?;
    if sent == WORD.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Takes the sockets that the process at the other end hands over, in its order. Blocks until it does.
///
/// # Errors
///
/// When the other end ends, or hands over something else.
pub fn take(from: impl AsFd) -> io::Result<Vec<OwnedFd>> {
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
    Ok(sockets)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn sockets_of_every_kind_arrive_in_their_order() {
        let (giver, taker) = UnixStream::pair().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let six = TcpListener::bind("[::1]:0").unwrap();
        let local = UnixListener::bind(folder.path().join("socket")).unwrap();
        give(&giver, &[six.as_fd(), local.as_fd()]).unwrap();
        let mut taken = take(&taker).unwrap().into_iter();
        let (first, second) = (taken.next().unwrap(), taken.next().unwrap());
        assert_eq!(TcpListener::from(first).local_addr().unwrap(), six.local_addr().unwrap());
        drop(local);
        let second = UnixListener::from(second);
        let _caller = UnixStream::connect(folder.path().join("socket")).unwrap();
        second.accept().unwrap();
        assert!(taken.next().is_none());
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
