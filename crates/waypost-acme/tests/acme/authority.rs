//! An authority for tests: RFC 8555 and RFC 9773 as far as a client can tell, with every fault on order.
//!
//! It believes signatures, which Pebble does not; it looks for the answers to its challenges over loopback.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, IsCa, KeyPair,
    SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ServerConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use waypost_acme::{ChallengeKind, Settings};
use waypost_domain::{Clock, UnixMillis};

/// What it is to do wrong, and what it has seen.
pub(crate) struct Script {
    /// Nonces not taken: every so many.
    pub(crate) refuse_every_nonce: usize,
    /// New orders are refused so, with this `Retry-After`.
    pub(crate) rate_limited: Option<u64>,
    /// Connections are dropped.
    pub(crate) down: bool,
    /// Answers are 503 in HTML.
    pub(crate) broken: bool,
    /// An external account is demanded.
    pub(crate) demands_external: bool,
    pub(crate) lifetime: Duration,
    /// From the issue of a certificate: the start and end of the window suggested.
    pub(crate) window: Option<(Duration, Duration)>,
    pub(crate) orders: usize,
    pub(crate) accounts_made: usize,
    pub(crate) external_ids: Vec<String>,
    pub(crate) replaced: Vec<String>,
    pub(crate) validations: Vec<String>,
    /// Accounts: address to thumbprint.
    pub(crate) accounts: HashMap<String, String>,
    nonces: Vec<String>,
    calls: usize,
    open: HashMap<usize, Order>,
}

struct Order {
    names: Vec<String>,
    authorizations: Vec<Option<Result<(), String>>>,
    chain: Option<String>,
    thumbprint: String,
}

pub(crate) struct Authority {
    pub(crate) script: Arc<Mutex<Script>>,
    root: CertificateDer<'static>,
    address: SocketAddr,
}

struct Desk {
    script: Arc<Mutex<Script>>,
    base: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
    clock: Clock,
    http: SocketAddr,
    tls: SocketAddr,
}

struct Fault(u16, &'static str, String);

type Answered = Result<(u16, Vec<(&'static str, String)>, Vec<u8>), Fault>;

impl Authority {
    pub(crate) async fn open(clock: &Clock, http: SocketAddr, tls: SocketAddr) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let root = issuer.der().clone();
        let config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![own.der().clone()],
                    PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
                )
                .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script {
            refuse_every_nonce: 0,
            rate_limited: None,
            down: false,
            broken: false,
            demands_external: false,
            lifetime: Duration::from_secs(90 * 24 * 3_600),
            window: None,
            orders: 0,
            accounts_made: 0,
            external_ids: Vec::new(),
            replaced: Vec::new(),
            validations: Vec::new(),
            accounts: HashMap::new(),
            nonces: Vec::new(),
            calls: 0,
            open: HashMap::new(),
        }));
        let desk = Arc::new(Desk {
            script: script.clone(),
            base: format!("https://{address}"),
            issuer,
            clock: clock.clone(),
            http,
            tls,
        });
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if desk.script().down {
                    continue;
                }
                let (acceptor, desk) = (acceptor.clone(), desk.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| {
                        let desk = desk.clone();
                        async move { Ok::<_, Infallible>(desk.answer(request).await) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { script, root, address }
    }

    pub(crate) fn settings(&self, names: &[&str], kinds: &[ChallengeKind]) -> Settings {
        Settings {
            directory: format!("https://{}/dir", self.address),
            contact: Some("ops@example.com".to_owned()),
            extra_roots: vec![self.root.clone()],
            allow_private: true,
            challenges: kinds.to_vec(),
            ..Settings::new(names.iter().map(|name| (*name).to_owned()).collect())
        }
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }
}

impl Desk {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let broken = self.script().broken;
        let outcome =
            if broken { Ok((503, Vec::new(), b"<html>".to_vec())) } else { self.route(request).await };
        let (status, headers, body) = outcome.unwrap_or_else(|Fault(status, kind, detail)| {
            let problem = json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail});
            let wait = if kind == "rateLimited" { self.script().rate_limited } else { None };
            let headers = wait.map(|seconds| ("retry-after", seconds.to_string())).into_iter().collect();
            (status, headers, problem.to_string().into_bytes())
        });
        let nonce = format!("n{}", {
            let mut script = self.script();
            script.calls += 1;
            let nonce = script.calls;
            script.nonces.push(format!("n{nonce}"));
            nonce
        });
        let mut response = Response::builder().status(status).header("replay-nonce", nonce);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        response.body(Full::new(body.into())).unwrap()
    }

    async fn route(&self, request: Request<Incoming>) -> Answered {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        if request.method() != Method::POST {
            return match parts[0] {
                "dir" => Ok((200, Vec::new(), self.directory())),
                "ari" => self.renewal_info(parts[1]),
                _ => Ok((200, Vec::new(), Vec::new())),
            };
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let (header, payload) = self.open(&body, &path)?;
        match parts[0] {
            "account" => self.account(&header, &payload),
            "order" if parts.len() == 1 => self.new_order(&header, &payload),
            "order" => Ok((200, Vec::new(), self.order(number(parts[1])))),
            "authz" => Ok((200, Vec::new(), self.authorization(number(parts[1]), number(parts[2])))),
            "chall" => {
                let (order, at) = (number(parts[1]), number(parts[2]));
                self.validate(order, at, parts[3]).await;
                Ok((200, Vec::new(), self.challenge(order, at, parts[3]).to_string().into_bytes()))
            }
            "finalize" => self.finalize(number(parts[1]), &payload),
            "cert" => {
                let chain = self.script().open[&number(parts[1])].chain.clone().unwrap();
                Ok((200, Vec::new(), chain.into_bytes()))
            }
            _ => Err(Fault(404, "malformed", path)),
        }
    }

    /// The parts of a signed call: its header and its payload.
    fn open(&self, body: &[u8], path: &str) -> Result<(Value, Value), Fault> {
        let envelope: Value = serde_json::from_slice(body).unwrap();
        let part = |name: &str| B64.decode(envelope[name].as_str().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&part("protected")).unwrap();
        let payload = serde_json::from_slice(&part("payload")).unwrap_or(Value::Null);
        assert_eq!(header["url"], format!("{}{path}", self.base));
        let mut script = self.script();
        let at = script.nonces.iter().position(|nonce| header["nonce"] == **nonce);
        let known = at.map(|at| script.nonces.remove(at)).is_some();
        let every = script.refuse_every_nonce;
        if !known || (every > 0 && script.calls.is_multiple_of(every)) {
            return Err(Fault(400, "badNonce", "that nonce is not taken".to_owned()));
        }
        if let Some(account) = header["kid"].as_str()
            && !script.accounts.contains_key(account)
        {
            return Err(Fault(400, "accountDoesNotExist", "who are you".to_owned()));
        }
        Ok((header, payload))
    }

    fn directory(&self) -> Vec<u8> {
        let base = &self.base;
        let mut directory = json!({
            "newNonce": format!("{base}/nonce"), "newAccount": format!("{base}/account"),
            "newOrder": format!("{base}/order"), "meta": {"termsOfService": format!("{base}/terms")},
        });
        if self.script().window.is_some() {
            directory["renewalInfo"] = json!(format!("{base}/ari"));
        }
        directory.to_string().into_bytes()
    }

    fn account(&self, header: &Value, payload: &Value) -> Answered {
        assert_eq!(payload["termsOfServiceAgreed"], true);
        assert_eq!(payload["contact"], json!(["mailto:ops@example.com"]));
        let mut script = self.script();
        if let Some(binding) = payload.get("externalAccountBinding") {
            let header = B64.decode(binding["protected"].as_str().unwrap()).unwrap();
            let header: Value = serde_json::from_slice(&header).unwrap();
            script.external_ids.push(header["kid"].as_str().unwrap().to_owned());
        } else if script.demands_external {
            return Err(Fault(403, "externalAccountRequired", "bind an account".to_owned()));
        }
        let jwk = &header["jwk"];
        let canonical =
            format!(r#"{{"crv":{},"kty":{},"x":{},"y":{}}}"#, jwk["crv"], jwk["kty"], jwk["x"], jwk["y"]);
        let thumbprint = B64.encode(digest(&SHA256, canonical.as_bytes()));
        script.accounts_made += 1;
        let address = format!("{}/acct/{}", self.base, script.accounts_made);
        script.accounts.insert(address.clone(), thumbprint);
        Ok((201, vec![("location", address)], json!({"status": "valid"}).to_string().into_bytes()))
    }

    fn new_order(&self, header: &Value, payload: &Value) -> Answered {
        let id = {
            let mut script = self.script();
            script.orders += 1;
            if script.rate_limited.is_some() {
                return Err(Fault(429, "rateLimited", "too many orders".to_owned()));
            }
            if let Some(former) = payload["replaces"].as_str() {
                if script.replaced.iter().any(|replaced| replaced == former) {
                    return Err(Fault(409, "alreadyReplaced", "that one is replaced".to_owned()));
                }
                script.replaced.push(former.to_owned());
            }
            let names: Vec<String> = payload["identifiers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|identifier| identifier["value"].as_str().unwrap().to_owned())
                .collect();
            let thumbprint = script.accounts[header["kid"].as_str().unwrap()].clone();
            let id = script.orders;
            let authorizations = names.iter().map(|_| None).collect();
            script.open.insert(id, Order { names, authorizations, chain: None, thumbprint });
            id
        };
        let mut body: Value = serde_json::from_slice(&self.order(id)).unwrap();
        body["replaces"] = payload["replaces"].clone();
        Ok((201, vec![("location", format!("{}/order/{id}", self.base))], body.to_string().into_bytes()))
    }

    fn order(&self, id: usize) -> Vec<u8> {
        let base = &self.base;
        let script = self.script();
        let order = &script.open[&id];
        let status = if order.chain.is_some() {
            "valid"
        } else if order.authorizations.iter().any(|seen| matches!(seen, Some(Err(_)))) {
            "invalid"
        } else if order.authorizations.iter().all(|seen| matches!(seen, Some(Ok(())))) {
            "ready"
        } else {
            "pending"
        };
        let authorizations: Vec<_> =
            (0..order.names.len()).map(|at| format!("{base}/authz/{id}/{at}")).collect();
        let mut body = json!({"status": status, "authorizations": authorizations,
            "identifiers": [], "finalize": format!("{base}/finalize/{id}")});
        if order.chain.is_some() {
            body["certificate"] = json!(format!("{base}/cert/{id}"));
        }
        body.to_string().into_bytes()
    }

    fn authorization(&self, id: usize, at: usize) -> Vec<u8> {
        let (name, status) = {
            let script = self.script();
            let order = &script.open[&id];
            let status = match &order.authorizations[at] {
                None => "pending",
                Some(Ok(())) => "valid",
                Some(Err(_)) => "invalid",
            };
            (order.names[at].clone(), status)
        };
        let challenges = ["http-01", "tls-alpn-01"].map(|kind| self.challenge(id, at, kind));
        json!({"identifier": {"type": "dns", "value": name}, "status": status, "challenges": challenges})
            .to_string()
            .into_bytes()
    }

    fn challenge(&self, id: usize, at: usize, kind: &str) -> Value {
        let script = self.script();
        let mut challenge = json!({"type": kind, "url": format!("{}/chall/{id}/{at}/{kind}", self.base),
            "token": format!("tok-{id}-{at}"), "status": "pending"});
        match &script.open[&id].authorizations[at] {
            None => {}
            Some(Ok(())) => challenge["status"] = json!("valid"),
            Some(Err(why)) => {
                challenge["status"] = json!("invalid");
                challenge["error"] =
                    json!({"type": "urn:ietf:params:acme:error:unauthorized", "detail": why});
            }
        }
        challenge
    }

    async fn validate(&self, id: usize, at: usize, kind: &str) {
        let (name, expected) = {
            let mut script = self.script();
            let name = script.open[&id].names[at].clone();
            script.validations.push(format!("{kind} {name}"));
            (name, format!("tok-{id}-{at}.{}", script.open[&id].thumbprint))
        };
        let seen = match kind {
            "http-01" => self.look_over_http(id, at, &expected).await,
            _ => self.look_over_tls(&name, &expected).await,
        };
        self.script().open.get_mut(&id).unwrap().authorizations[at] = Some(seen);
    }

    async fn look_over_http(&self, id: usize, at: usize, expected: &str) -> Result<(), String> {
        let mut stream = TcpStream::connect(self.http).await.map_err(|error| error.to_string())?;
        let ask = format!("GET /.well-known/acme-challenge/tok-{id}-{at} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.map_err(|error| error.to_string())?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.map_err(|error| error.to_string())?;
        if text.ends_with(&format!("\r\n\r\n{expected}")) { Ok(()) } else { Err("wrong answer".to_owned()) }
    }

    async fn look_over_tls(&self, name: &str, expected: &str) -> Result<(), String> {
        let stream = TcpStream::connect(self.tls).await.map_err(|error| error.to_string())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(anyone::Anyone))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
        let stream = TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from(name.to_owned()).unwrap(), stream)
            .await
            .map_err(|error| error.to_string())?;
        let session = stream.get_ref().1;
        assert_eq!(session.alpn_protocol(), Some(b"acme-tls/1".as_slice()));
        let certificate = session.peer_certificates().unwrap()[0].to_vec();
        // id-pe-acmeIdentifier, critical, around the digest (RFC 8737, section 3).
        let mut extension =
            vec![0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 1, 0x1f, 0x01, 0x01, 0xff, 0x04, 0x22, 0x04, 0x20];
        extension.extend_from_slice(digest(&SHA256, expected.as_bytes()).as_ref());
        if certificate.windows(extension.len()).any(|part| part == extension) {
            Ok(())
        } else {
            Err("no such proof".to_owned())
        }
    }

    fn finalize(&self, id: usize, payload: &Value) -> Answered {
        let request =
            CertificateSigningRequestDer::from(B64.decode(payload["csr"].as_str().unwrap()).unwrap());
        let mut request = CertificateSigningRequestParams::from_der(&request).unwrap();
        let now = self.clock.wall();
        let moment = |at: UnixMillis| date_time_ymd(1970, 1, 1) + Duration::from_millis(at.0.unsigned_abs());
        request.params.not_before = moment(now);
        request.params.not_after = moment(now.plus(self.script().lifetime));
        request.params.serial_number = Some(SerialNumber::from(now.0.unsigned_abs() + id as u64));
        request.params.use_authority_key_identifier_extension = true;
        let certificate = request.signed_by(&self.issuer).unwrap();
        let chain = format!("{}{}", certificate.pem(), self.issuer.pem());
        self.script().open.get_mut(&id).unwrap().chain = Some(chain);
        Ok((200, Vec::new(), self.order(id)))
    }

    fn renewal_info(&self, certificate: &str) -> Answered {
        let serial = B64.decode(certificate.split_once('.').unwrap().1).unwrap();
        let issued = serial.iter().fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
        let (start, end) = self.script().window.unwrap();
        let at = |after: Duration| {
            let seconds = i64::try_from(issued / 1_000 + after.as_secs()).unwrap();
            rfc3339(seconds)
        };
        let body = json!({"suggestedWindow": {"start": at(start), "end": at(end)}});
        Ok((200, vec![("retry-after", "3600".to_owned())], body.to_string().into_bytes()))
    }
}

/// `2026-11-21T05:09:15Z` of seconds since 1970 (Howard Hinnant's days-to-civil arithmetic).
fn rfc3339(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) =
        (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

fn number(text: &str) -> usize {
    text.parse().unwrap()
}

mod anyone {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    /// Believes anybody: the proof is in the certificate, not in who signed it.
    #[derive(Debug)]
    pub(super) struct Anyone;

    impl ServerCertVerifier for Anyone {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            rustls::crypto::aws_lc_rs::default_provider()
                .signature_verification_algorithms
                .supported_schemes()
        }
    }
}
