//! Passing a request straight through, and the receiver's own answer back.

use std::net::SocketAddr;

use http::{Method, Response};
use http_body::Body as _;
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
/// The receiver's body is passed on as it comes. A receiver that breaks off in the middle breaks off the caller's
/// answer too, so that nobody takes a part for the whole.
pub async fn relay(endpoint: &Endpoint, mut call: Call) -> Relayed {
    if call.method == Method::GET {
        call.deadline = call.deadline.min(RELAY_GET_TIME_MAX);
    }
    match endpoint.call(call).await {
        Ok(answer) => relayed(answer),
        Err(error) => Relayed {
            response: Refusal::Receiver(error.failure).response(),
            timing: error.timing,
            address: error.address,
            failure: Some((error.failure, error.detail)),
        },
    }
}

fn relayed(mut answer: Answer) -> Relayed {
    let (timing, address) = (answer.timing, answer.address);
    if answer.body.size_hint().lower() > RELAY_RESPONSE_BYTES_MAX as u64 {
        let sentence = format!("the answer is larger than {RELAY_RESPONSE_BYTES_MAX} bytes");
        return Relayed {
            response: Refusal::Receiver(Failure::AnswerUnreadable).response(),
            failure: Some((Failure::AnswerUnreadable, sentence)),
            timing,
            address,
        };
    }
    strip_answer(&mut answer.headers);
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    Relayed { response, failure: None, timing, address }
}
