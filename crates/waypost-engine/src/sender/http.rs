//! The HTTP sender: the request as it came, POSTed to the receiver.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use waypost_domain::{AttemptReport, AttemptTiming, Failure, Reply, limits};
use waypost_outbound::{Answer, Call, CallError, Endpoint, header_map};

use super::{Attempt, Parcel, Sender};

/// POSTs to one endpoint, with the path, query, headers and body that Meta's request had.
pub struct HttpSender {
    endpoint: Endpoint,
    deadline: Duration,
}

impl HttpSender {
    /// A sender that gives each attempt `deadline`, the receiver's whole answer included.
    pub fn new(endpoint: Endpoint, deadline: Duration) -> Self {
        Self { endpoint, deadline }
    }

    async fn send(&self, parcel: Parcel) -> AttemptReport {
        let Ok(path_and_query) = PathAndQuery::try_from(parcel.content.target.as_str()) else {
            return failed(Failure::Ours, AttemptTiming::default(), None, "the kept path is not one");
        };
        let mut headers = header_map(&parcel.content.headers);
        mark(&mut headers, &parcel);
        let body = parcel.content.body.clone();
        let call = Call { method: Method::POST, path_and_query, headers, body, deadline: self.deadline };
        match self.endpoint.call(call).await {
            Ok(answer) => read(answer).await,
            Err(error) => of_error(*error),
        }
    }
}

impl Sender for HttpSender {
    fn attempt(&self, parcel: Parcel) -> Attempt<'_> {
        Box::pin(self.send(parcel))
    }
}

/// Tells the receiver which delivery this is, so that it can recognise a repeat.
fn mark(headers: &mut HeaderMap, parcel: &Parcel) {
    let marks = [
        (HeaderName::from_static("waypost-event-id"), parcel.event.to_string()),
        (HeaderName::from_static("waypost-delivery-id"), parcel.delivery.to_string()),
        (HeaderName::from_static("waypost-attempt"), parcel.attempt.to_string()),
    ];
    for (name, value) in marks {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

async fn read(answer: Answer) -> AttemptReport {
    let (status, address) = (answer.status.as_u16(), answer.address);
    let retry_after = answer.headers.get(RETRY_AFTER).and_then(seconds);
    match answer.read_excerpt(limits::RESPONSE_EXCERPT_BYTES_MAX).await {
        Ok(excerpt) => AttemptReport {
            reply: Reply::Answered { status, retry_after },
            timing: excerpt.timing,
            address,
            excerpt: excerpt.bytes,
        },
        Err(error) => of_error(*error),
    }
}

/// `Retry-After` in seconds (RFC 9110, section 10.2.3). A date is passed over: the schedule then decides.
fn seconds(value: &HeaderValue) -> Option<Duration> {
    value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn of_error(error: CallError) -> AttemptReport {
    failed(error.failure, error.timing, error.address, &error.detail)
}

fn failed(
    failure: Failure,
    timing: AttemptTiming,
    address: Option<std::net::SocketAddr>,
    detail: &str,
) -> AttemptReport {
    AttemptReport { reply: Reply::Failed(failure), timing, address, excerpt: detail.as_bytes().to_vec() }
}
