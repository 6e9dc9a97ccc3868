//! Passing a request straight through, and the receiver's own answer back.

use std::net::SocketAddr;

use http::{Method, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use waypost_domain::limits::{RELAY_GET_TIME_MAX, RELAY_RESPONSE_BYTES_MAX};
use waypost_domain::{AttemptTiming, Failure};
use waypost_outbound::{Answer, Call, Endpoint};

use crate::forwarded::strip_answer;
use crate::refusal::Refusal;
use crate::reply::Body;

/// What a relayed request came to.
pub struct Relayed {
    /// The answer for the caller: the receiver's own, or a 502, 503 or 504 that names the failure.
    pub response: Response<Body>,
    /// Why there was no answer of the receiver's, and the sentence for the log.
    pub failure: Option<(Failure, String)>,
    /// Where the time went until the head of the answer.
    pub timing: AttemptTiming,
    /// The receiver's address, where one was spoken to.
    pub address: Option<SocketAddr>,
}

/// Calls the receiver once and answers with what it says. The call's headers are what
/// [`crate::forwarded::relayed_headers`] made. A GET gets at most [`RELAY_GET_TIME_MAX`].
///
/// The receiver's body is passed on as it comes, once its first bytes are there: what goes wrong before is a 502. A receiver that breaks off in the middle breaks off the caller's
/// answer too, so that nobody takes a part for the whole.
pub async fn relay(endpoint: &Endpoint, mut call: Call) -> Relayed {
    if call.method == Method::GET {
        call.deadline = call.deadline.min(RELAY_GET_TIME_MAX);
    }
    match endpoint.call(call).await {
        Ok(answer) => relayed(answer).await,
        Err(error) => Relayed {
            response: Refusal::Receiver(error.failure).response(),
            timing: error.timing,
            address: error.address,
            failure: Some((error.failure, error.detail)),
        },
    }
}

async fn relayed(mut answer: Answer) -> Relayed {
    let (timing, address) = (answer.timing, answer.address);
    let failed = |failure: Failure, sentence: String| Relayed {
        response: Refusal::Receiver(failure).response(),
        failure: Some((failure, sentence)),
        timing,
        address,
    };
    if answer.status == StatusCode::SWITCHING_PROTOCOLS {
        let sentence = "the receiver switched protocols, for which nobody had asked".to_owned();
        return failed(Failure::AnswerUnreadable, sentence);
    }
    if answer.body.size_hint().lower() > RELAY_RESPONSE_BYTES_MAX as u64 {
        let sentence = format!("the answer is larger than {RELAY_RESPONSE_BYTES_MAX} bytes");
        return failed(Failure::AnswerUnreadable, sentence);
    }
    let mut body = Body::empty();
    if !answer.body.is_end_stream() {
        let mut rest = Box::pin(answer.body);
        match rest.frame().await {
            Some(Ok(first)) => body = Body::relayed(first, rest),
            Some(Err(fault)) => return failed(fault.failure, fault.detail),
            None => {}
        }
    }
    strip_answer(&mut answer.headers);
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    Relayed { response, failure: None, timing, address }
}
