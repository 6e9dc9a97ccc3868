//! One client connection that never blocks: plain or TLS, one request outstanding at a time.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use crate::response::{Answer, ResponseReader};

/// A connection, and what has not been written to it yet.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// What a plain socket did not take at once, from `unsent_at` on.
    unsent: Vec<u8>,
    unsent_at: usize,
    reader: ResponseReader,
}

/// What a connection's readiness brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// Nothing whole yet.
    Pending,
    /// The outstanding request's response.
    Answered(Answer),
    /// The server has closed the connection.
    Closed,
}

impl Connection {
    /// Connects. On loopback that takes no waiting: the kernel completes it before the server
    /// accepts.
    pub(crate) fn open(
        address: SocketAddr,
        tls: Option<(&Arc<ClientConfig>, &ServerName<'static>)>,
    ) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let tls = match tls {
            None => None,
            Some((config, name)) => {
                let mut tls =
                    ClientConnection::new(Arc::clone(config), name.clone()).map_err(io::Error::other)?;
                // Requests are written whole; their size is the plan's.
                tls.set_buffer_limit(None);
                Some(Box::new(tls))
            }
        };
        Ok(Self { socket, tls, unsent: Vec::new(), unsent_at: 0, reader: ResponseReader::default() })
    }

    /// Sends a request, as far as the socket takes it; over TLS, once the handshake is done.
    pub(crate) fn send(&mut self, request: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => {
                tls.writer().write_all(request)?;
                self.flush()
            }
            None => {
                let written = match self.socket.write(request) {
                    Ok(written) => written,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                    Err(error) => return Err(error),
                };
                self.unsent.extend_from_slice(&request[written..]);
                Ok(())
            }
        }
    }

    /// Whether something waits for the socket to become writable.
    pub(crate) fn wants_write(&self) -> bool {
        !self.unsent.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Writes what waits.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while self.wants_write() {
            let result = match &mut self.tls {
                Some(tls) => tls.write_tls(&mut self.socket).map(drop),
                None => self.socket.write(&self.unsent[self.unsent_at..]).map(|written| {
                    self.unsent_at += written;
                    if self.unsent_at == self.unsent.len() {
                        self.unsent.clear();
                        self.unsent_at = 0;
                    }
                }),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                result => result?,
            }
        }
        Ok(())
    }

    /// Reads once from a socket that is readable.
    pub(crate) fn receive(&mut self, scratch: &mut [u8]) -> io::Result<Progress> {
        match self.tls {
            Some(_) => self.receive_tls(scratch),
            None => match self.socket.read(scratch) {
                Ok(0) => Ok(self.ended()),
                Ok(read) => {
                    Ok(self.reader.feed(&scratch[..read])?.map_or(Progress::Pending, Progress::Answered))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Progress::Pending),
                Err(error) => Err(error),
            },
        }
    }

    fn receive_tls(&mut self, scratch: &mut [u8]) -> io::Result<Progress> {
        let Some(tls) = &mut self.tls else { return Ok(Progress::Pending) };
        match tls.read_tls(&mut self.socket) {
            Ok(0) => return Ok(self.ended()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Progress::Pending),
            Err(error) => return Err(error),
        }
        tls.process_new_packets().map_err(io::Error::other)?;
        let mut progress = Progress::Pending;
        loop {
            match tls.reader().read(scratch) {
                Ok(0) => {
                    if progress == Progress::Pending {
                        return Ok(self.ended());
                    }
                    break;
                }
                Ok(read) => {
                    if let Some(answer) = self.reader.feed(&scratch[..read])? {
                        progress = Progress::Answered(answer);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        // Handshake messages, and requests that waited for its end.
        self.flush()?;
        Ok(progress)
    }

    fn ended(&mut self) -> Progress {
        self.reader.finish().map_or(Progress::Closed, Progress::Answered)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The TLS client that sends: TLS 1.3, X25519 alone (what OpenSSL 3.0 offers, so that every server
/// does the same key exchange), certificates not verified, since that work is not the server's.
pub(crate) fn tls_client(resume: bool) -> anyhow::Result<Arc<ClientConfig>> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unverified))
        .with_no_client_auth();
    if !resume {
        config.resumption = Resumption::disabled();
    }
    Ok(Arc::new(config))
}

/// Believes every server: the sender only ever speaks to what this program started on loopback.
#[derive(Debug)]
struct Unverified;

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::RSA_PSS_SHA256,
        ]
    }
}
