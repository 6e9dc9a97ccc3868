//! The process that started us: the sockets it hands over, and what it wants to hear (`sd_listen_fds(3)`, `sd_notify(3)`).

use std::env;
use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::time::Duration;

use rustix::net::sockopt;

use crate::listener::Listener;

/// Sockets that were open before we were.
#[derive(Debug, Default)]
pub struct Inherited(Vec<TcpListener>);

impl Inherited {
    /// Takes the listening TCP sockets that a supervisor hands over, by systemd's protocol; none where nothing is handed
    /// over. To be called once, at the very start: it changes the environment, which no other thread may read then.
    ///
    /// # Errors
    ///
    /// When something is handed over that is no listening TCP socket.
    pub fn take() -> io::Result<Self> {
        let mut handed = listenfd::ListenFd::from_env();
        let mut sockets = Vec::new();
        for at in 0..handed.len() {
            sockets.extend(handed.take_tcp_listener(at)?);
        }
        Self::of(sockets)
    }

    /// These sockets.
    ///
    /// # Errors
    ///
    /// When one does not listen.
    pub fn of(sockets: Vec<TcpListener>) -> io::Result<Self> {
        for socket in &sockets {
            if !sockopt::socket_acceptconn(socket)? {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "an inherited socket does not listen",
                ));
            }
        }
        Ok(Self(sockets))
    }

    /// The listener at this address, if there is one; port 0 takes any of the address.
    ///
    /// # Errors
    ///
    /// When the system does not let it be served.
    pub fn listener(&mut self, address: SocketAddr) -> io::Result<Option<Listener>> {
        let fits = |socket: &TcpListener| {
            socket.local_addr().is_ok_and(|bound| {
                bound.ip() == address.ip() && (bound.port() == address.port() || address.port() == 0)
            })
        };
        let Some(at) = self.0.iter().position(fits) else { return Ok(None) };
        Listener::inherited(self.0.swap_remove(at)).map(Some)
    }

    /// The addresses of those that nobody has asked for: a sign that the supervisor and the configuration disagree.
    pub fn left(&self) -> Vec<SocketAddr> {
        self.0.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Tells a supervisor how we are. Does nothing where there is none. A supervisor that does not listen is no reason to fail.
#[derive(Debug, Default)]
pub struct Supervisor {
    notices: Option<(UnixDatagram, UnixAddress)>,
    watchdog_every: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment names.
    pub fn from_env() -> Self {
        let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let watched = number("WATCHDOG_PID").is_none_or(|process| process == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|_| watched).map(Duration::from_micros);
        Self::at(env::var_os("NOTIFY_SOCKET"), watchdog)
    }

    /// One that listens at this path (`@NAME` for an abstract name), and expects a sign of life so often.
    pub fn at(path: Option<OsString>, watchdog: Option<Duration>) -> Self {
        let address = path.and_then(|path| match path.as_bytes().strip_prefix(b"@") {
            Some(name) => UnixAddress::from_abstract_name(name).ok(),
            None => UnixAddress::from_pathname(&path).ok(),
        });
        let notices = address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address)));
        if let Some((socket, _)) = &notices {
            // Nothing waits for a supervisor.
            let _ = socket.set_nonblocking(true);
        }
        Self { notices, watchdog_every: watchdog }
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.notices.is_some()
    }

    /// How often [`Supervisor::alive`] must be said: twice as often as the supervisor demands.
    pub fn alive_every(&self) -> Option<Duration> {
        self.watchdog_every.map(|demanded| (demanded / 2).max(Duration::from_millis(1)))
    }

    /// Everything is served; after a reload, again.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// The configuration is being read again; [`Supervisor::ready`] follows, whatever comes of it.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Another process goes on in our place: it is the one to watch.
    pub fn main_process(&self, id: u32) {
        self.tell(&format!("MAINPID={id}"));
    }

    /// Still there.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// One line about how we are.
    pub fn status(&self, line: &str) {
        self.tell(&format!("STATUS={}", line.replace('\n', " ")));
    }

    fn tell(&self, notice: &str) {
        if let Some((socket, address)) = &self.notices
            && let Err(error) = socket.send_to_addr(notice.as_bytes(), address)
        {
            tracing::debug!(%error, "the supervisor does not listen");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_hears_what_there_is_to_hear() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor::at(Some(path.into_os_string()), Some(Duration::from_secs(10)));
        assert_eq!(supervisor.alive_every(), Some(Duration::from_secs(5)));
        supervisor.ready();
        supervisor.reloading();
        supervisor.alive();
        supervisor.status("two\nlines");
        supervisor.main_process(7);
        supervisor.stopping();
        let next = || {
            let mut buffer = [0; 200];
            let bytes = heard.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..bytes].to_vec()).unwrap()
        };
        assert_eq!(next(), "READY=1");
        let reloading = next();
        let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(micros.parse::<u64>().unwrap() > 0);
        let rest = [next(), next(), next(), next()];
        assert_eq!(rest, ["WATCHDOG=1", "STATUS=two lines", "MAINPID=7", "STOPPING=1"]);
    }

    #[test]
    fn an_abstract_name_is_understood_and_no_supervisor_is_no_trouble() {
        let name = format!("waypost-test-{}", std::process::id());
        let heard = UnixDatagram::bind_addr(&UnixAddress::from_abstract_name(&name).unwrap()).unwrap();
        Supervisor::at(Some(format!("@{name}").into()), None).ready();
        assert_eq!(heard.recv(&mut [0; 20]).unwrap(), 7);
        Supervisor::default().ready();
        Supervisor::at(Some("/nowhere/at/all".into()), None).stopping();
    }

    #[tokio::test]
    async fn inherited_sockets_are_found_by_their_address() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let mut inherited = Inherited::of(vec![socket]).unwrap();
        assert!(inherited.listener("127.0.0.2:0".parse().unwrap()).unwrap().is_none());
        assert_eq!(inherited.left(), [address]);
        assert_eq!(inherited.listener(address).unwrap().unwrap().local_addr().unwrap(), address);
        assert!(inherited.is_empty());
    }

    #[test]
    fn a_socket_that_does_not_listen_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let odd = TcpListener::from(std::os::fd::OwnedFd::from(client));
        assert!(Inherited::of(vec![odd]).is_err());
    }
}
