//! The ports: answered by the running server, free to be taken, or taken by somebody else.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::finding::Finding;
use super::server::local;
use crate::config::Config;

const CHECK: &str = "ports";
/// How long this machine may take to connect to itself.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// Processes that are searched for the holder of a port.
const PROCESSES_MAX: usize = 65_536;
/// `TCP_LISTEN` in the kernel's tables.
const LISTENING: &str = "0A";

/// Looks at each address that is to be listened on.
pub(super) async fn examine(config: &Config, running: bool) -> Vec<Finding> {
    let server = &config.server;
    let named = |key, addresses: &[SocketAddr]| addresses.iter().map(|at| (key, *at)).collect::<Vec<_>>();
    let mut all = named("server.http", &server.http);
    all.extend(named("server.https", &server.https));
    all.push(("server.admin", server.admin));
    let mut findings = Vec::new();
    for (key, address) in all {
        let subject = format!("{key} {address}");
        findings.push(if address.port() == 0 {
            Finding::note(CHECK, subject, "port 0: the system gives one at each start")
        } else if running {
            answered(subject, address).await
        } else {
            takeable(subject, address)
        });
    }
    findings
}

async fn answered(subject: String, address: SocketAddr) -> Finding {
    let local = SocketAddr::new(local(address), address.port());
    match timeout(CONNECT_TIME_MAX, TcpStream::connect(local)).await {
        Ok(Ok(_)) => Finding::ok(CHECK, subject, "the running server can be connected to"),
        Ok(Err(error)) => {
            Finding::fault(CHECK, subject, format!("the running server does not answer: {error}"))
                .why("It was probably started with other addresses")
                .remedy("Compare the addresses in its first log lines with the configuration, and restart it")
        }
        Err(_) => Finding::fault(CHECK, subject, "connecting to the running server takes too long")
            .why("A firewall on this machine drops the packets, or the server takes no more connections")
            .remedy("Look at the firewall, and at waypost_connections in the metrics"),
    }
}

fn takeable(subject: String, address: SocketAddr) -> Finding {
    let error = match TcpListener::bind(address) {
        Ok(_) => return Finding::ok(CHECK, subject, "free to be listened on"),
        Err(error) => error,
    };
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let holder = holder(address.port()).unwrap_or_else(|| "a process of another user".to_owned());
            Finding::fault(CHECK, subject, format!("taken by {holder}"))
                .why("Waypost cannot start")
                .remedy("Stop that program (for nginx: systemctl disable --now nginx), or give Waypost another address")
        }
        io::ErrorKind::PermissionDenied => Finding::warning(CHECK, subject, "this user may not listen there")
            .why("Ports below 1024 need a privilege; the packaged service has it, a plain user has not")
            .remedy("Run this command as root, or give the service CAP_NET_BIND_SERVICE"),
        io::ErrorKind::AddrNotAvailable => Finding::fault(CHECK, subject, "no address of this machine")
            .why("Waypost cannot start")
            .remedy("Write 0.0.0.0 or [::] for every address of this machine"),
        _ => Finding::fault(CHECK, subject, format!("cannot be listened on: {error}"))
            .why("Waypost cannot start")
            .remedy("Give Waypost another address"),
    }
}

/// The process that listens on a port, as far as this user may know.
fn holder(port: u16) -> Option<String> {
    let mut inodes = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        inodes.extend(listeners(&text).filter(|(at, _)| at.port() == port).map(|(_, inode)| inode));
    }
    let sockets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = std::fs::read_dir("/proc").ok()?.flatten().take(PROCESSES_MAX);
    for process in processes {
        let id = process.file_name().to_string_lossy().into_owned();
        if id.bytes().all(|byte| byte.is_ascii_digit()) && holds(&process.path(), &sockets) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {id})", name.trim()));
        }
    }
    None
}

fn holds(process: &Path, sockets: &[String]) -> bool {
    let Ok(handles) = std::fs::read_dir(process.join("fd")) else { return false };
    handles.flatten().any(|handle| {
        let leads_to = std::fs::read_link(handle.path()).unwrap_or_default();
        let leads_to = leads_to.to_string_lossy();
        sockets.iter().any(|socket| *socket == leads_to)
    })
}

/// The listeners in a table of the kernel's, with their inodes (proc(5), `/proc/net/tcp`).
fn listeners(table: &str) -> impl Iterator<Item = (SocketAddr, u64)> {
    table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let local = words.nth(1)?;
        let state = words.nth(1)?;
        let inode = words.nth(5)?.parse().ok()?;
        let (address, port) = local.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        (state == LISTENING).then_some((SocketAddr::new(ip(address)?, port), inode))
    })
}

/// An address in words of the machine's own byte order.
fn ip(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut octets = [0; 16];
            for at in 0..4 {
                octets[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000 100 0 0 10 0\n   1: 0100007F:1F91 0100007F:0050 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1\n   2: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1\n";

    #[cfg(target_endian = "little")]
    #[test]
    fn listeners_are_read_from_the_kernels_table() {
        let found: Vec<_> = listeners(TABLE).collect();
        let expected = [("127.0.0.1:8080", 4711), ("[::1]:80", 4713)];
        assert_eq!(found, expected.map(|(address, inode)| (address.parse().unwrap(), inode)));
    }

    #[test]
    fn a_taken_port_is_told_with_its_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let finding = takeable("it".to_owned(), address);
        assert!(finding.what.starts_with("taken by "), "{finding:?}");
        drop(listener);
        assert_eq!(takeable("it".to_owned(), address).severity, super::super::finding::Severity::Ok);
    }

    proptest! {
        #[test]
        fn no_table_is_too_odd(text in "\\PC{0,200}", words in proptest::collection::vec("[0-9A-F:]{0,40}", 0..14)) {
            let line = format!("head\n{}\n{text}", words.join(" "));
            let _ = listeners(&line).count();
        }
    }
}
