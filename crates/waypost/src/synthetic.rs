//! A stand-in for Meta: composes webhooks, signs them, and posts them to a callback address.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri};
use waypost_domain::{Clock, Origin, limits};
use waypost_outbound::{Call, Endpoint, EndpointConfig, Outbound, OutboundConfig, read_ca_file};
use waypost_whatsapp::{AppSecret, sign};

use crate::exit::wrong_usage;

/// Posts to one callback address.
pub(crate) struct Caller {
    endpoint: Endpoint,
    path_and_query: PathAndQuery,
}

/// How a body is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signing {
    /// As Meta does.
    Right,
    /// With a signature that cannot be right.
    Wrong,
}

/// What a callback address answered.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    pub(crate) took: Duration,
    /// The beginning of the answer's body.
    pub(crate) excerpt: String,
}

impl Caller {
    /// A caller of `url`, which may be anywhere, believing `ca_file` besides the system's roots.
    ///
    /// # Errors
    ///
    /// When the address or the file is wrong.
    pub(crate) fn new(url: &str, ca_file: Option<&Path>, clock: &Clock) -> anyhow::Result<Self> {
        let uri: Uri =
            url.parse().map_err(|error| wrong_usage(format!("`{url}` is not an address: {error}")))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong_usage(format!(
                "`{url}` is not a whole address; write it as Meta would be given it, such as https://proxy.example.com/chatwoot.example.com/webhooks/whatsapp/%2B15551234567"
            )));
        };
        let origin: Origin =
            format!("{scheme}://{authority}").parse().with_context(|| format!("in `{url}`"))?;
        let extra_roots = ca_file.map(read_ca_file).transpose()?.unwrap_or_default();
        let endpoint = Outbound::new(OutboundConfig::new(clock.clone())).endpoint(EndpointConfig {
            origin,
            host: authority.as_str().to_owned(),
            allow_private: true,
            extra_roots,
            connect_timeout: limits::CONNECT_TIME_MAX,
        })?;
        let path_and_query = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self { endpoint, path_and_query })
    }

    /// Posts a body, signed if there is a secret, with the headers that Meta sends.
    ///
    /// # Errors
    ///
    /// When there was no whole answer: one plain sentence.
    pub(crate) async fn post(
        &self,
        body: String,
        secret: Option<(&AppSecret, Signing)>,
    ) -> Result<Heard, String> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static("facebookexternalua"));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some((secret, signing)) = secret {
            let signed = match signing {
                Signing::Right => sign(secret, body.as_bytes()),
                Signing::Wrong => sign(secret, b"not these bytes"),
            };
            for (name, value) in [("x-hub-signature", signed.sha1), ("x-hub-signature-256", signed.sha256)] {
                headers.insert(name, HeaderValue::try_from(value).map_err(|error| error.to_string())?);
            }
        }
        self.post_with(headers, Bytes::from(body)).await
    }

    /// Posts a body with these headers.
    ///
    /// # Errors
    ///
    /// When there was no whole answer: one plain sentence.
    pub(crate) async fn post_with(&self, headers: HeaderMap, body: Bytes) -> Result<Heard, String> {
        let call = Call {
            method: Method::POST,
            path_and_query: self.path_and_query.clone(),
            headers,
            body,
            deadline: limits::ATTEMPT_TIME_MAX,
        };
        let answer = self.endpoint.call(call).await.map_err(|error| error.detail)?;
        let status = answer.status.as_u16();
        let excerpt =
            answer.read_excerpt(limits::RESPONSE_EXCERPT_BYTES_MAX).await.map_err(|error| error.detail)?;
        let text = String::from_utf8_lossy(&excerpt.bytes).trim().to_owned();
        Ok(Heard { status, took: excerpt.timing.total, excerpt: text })
    }
}
