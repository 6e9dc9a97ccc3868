//! Listeners whose queue holds every connection that the sender opens at once: what does not fit there is tried
//! again by the kernel after a second, which would look like a slow server.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted; the kernel may allow fewer (`net.core.somaxconn`).
const QUEUE_MAX: u32 = 4_096;

/// Listens on an address; to be called within a runtime.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(QUEUE_MAX)
}
