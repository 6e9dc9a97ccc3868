//! Listening sockets that were open before us, by what they are for.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use tokio::net::{TcpListener, UnixListener};
use waypost_edge::{Inherited, Listener};

/// Sockets that were open before us: a supervisor's, and our predecessor's.
#[derive(Default)]
pub(crate) struct Doors {
    inherited: Inherited,
    handed: Vec<(String, OwnedFd)>,
}

impl From<Inherited> for Doors {
    fn from(inherited: Inherited) -> Self {
        Self { inherited, handed: Vec::new() }
    }
}

impl Doors {
    /// A predecessor's, with what they were for.
    pub(super) fn handed(handed: Vec<(String, OwnedFd)>) -> Self {
        Self { inherited: Inherited::default(), handed }
    }

    /// A public address, served in this way.
    pub(crate) fn public(&mut self, way: &str, address: SocketAddr) -> io::Result<Option<Listener>> {
        match self.take(&public(way, address)) {
            Some(socket) => Inherited::of(vec![socket.into()])?.listener(address),
            None => self.inherited.listener(address),
        }
    }

    /// The admin address.
    pub(crate) fn admin(&mut self, address: SocketAddr) -> io::Result<Option<TcpListener>> {
        let Some(socket) = self.take(&admin(address)) else { return Ok(None) };
        let socket = std::net::TcpListener::from(socket);
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket).map(Some)
    }

    /// The socket in the data directory.
    pub(crate) fn socket(&mut self, directory: &Path) -> io::Result<Option<UnixListener>> {
        let Some(socket) = self.take(&local(directory)) else { return Ok(None) };
        let socket = std::os::unix::net::UnixListener::from(socket);
        socket.set_nonblocking(true)?;
        UnixListener::from_std(socket).map(Some)
    }

    /// The public addresses that were open and nobody asked for.
    pub(crate) fn left(&self) -> Vec<String> {
        let handed = self.handed.iter().filter_map(|(name, _)| name.strip_prefix(PUBLIC));
        self.inherited.left().iter().map(SocketAddr::to_string).chain(handed.map(str::to_owned)).collect()
    }

    fn take(&mut self, purpose: &str) -> Option<OwnedFd> {
        let at = self.handed.iter().position(|(name, _)| name == purpose)?;
        Some(self.handed.remove(at).1)
    }
}

/// The sockets that are open now, once more, to be handed over. They listen for as long as these are held.
#[derive(Default)]
pub(crate) struct OpenDoors(Vec<(String, OwnedFd)>);

impl OpenDoors {
    /// A public address as it was asked for, served in this way.
    pub(crate) fn public(&mut self, way: &str, address: SocketAddr, listener: &Listener) -> io::Result<()> {
        self.add(public(way, address), listener)
    }

    /// The admin address as it was asked for.
    pub(crate) fn admin(&mut self, address: SocketAddr, listener: &TcpListener) -> io::Result<()> {
        self.add(admin(address), listener)
    }

    /// The socket in the data directory.
    pub(crate) fn socket(&mut self, directory: &Path, listener: &UnixListener) -> io::Result<()> {
        self.add(local(directory), listener)
    }

    pub(super) fn purposes(&self) -> Vec<String> {
        self.0.iter().map(|(purpose, _)| purpose.clone()).collect()
    }

    pub(super) fn sockets(&self) -> Vec<BorrowedFd<'_>> {
        self.0.iter().map(|(_, socket)| socket.as_fd()).collect()
    }

    fn add(&mut self, purpose: String, socket: &impl AsFd) -> io::Result<()> {
        self.0.push((purpose, socket.as_fd().try_clone_to_owned()?));
        Ok(())
    }
}

/// What public addresses are told by.
const PUBLIC: &str = "public ";

/// A port has one listener, however it is served; of ports that the system chose only the way tells which is which.
fn public(way: &str, address: SocketAddr) -> String {
    if address.port() == 0 { format!("{PUBLIC}{way} {address}") } else { format!("{PUBLIC}{address}") }
}

fn admin(address: SocketAddr) -> String {
    format!("admin {address}")
}

fn local(directory: &Path) -> String {
    format!("socket {}", directory.display())
}
