//! Which requests may turn their connection into something else: `WebSocket`, and nothing else.

use http::header::UPGRADE;
use http::{Method, Request, Version};
use http_body::Body;

use crate::forwarded::is_named;

/// Whether a request offers to go on as a `WebSocket` (RFC 6455, section 4.1): to the letter, and without a body, after which
/// nobody could tell what belongs to which protocol. Any other offer, such as `h2c`, is as if it were not there (RFC 9110,
/// section 7.8).
pub(crate) fn offers_websocket<B: Body>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let mut offers = headers.get_all(UPGRADE).iter();
    request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && offers.next().is_some_and(|offer| offer.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && offers.next().is_none()
        && is_named(headers, &UPGRADE)
        && request.body().is_end_stream()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::request::Builder;
    use http_body_util::{Empty, Full};

    use super::*;

    fn request() -> Builder {
        Request::get("/ws").header("host", "x").header("connection", "keep-alive, Upgrade")
    }

    fn is_offer(request: Builder) -> bool {
        offers_websocket(&request.body(Empty::<Bytes>::new()).unwrap())
    }

    #[test]
    fn a_websocket_is_offered_to_the_letter_or_not_at_all() {
        assert!(is_offer(request().header("upgrade", "websocket")));
        assert!(is_offer(request().header("upgrade", "WebSocket")));
        for other in ["h2c", "websocket, h2c", "websocket/13", ""] {
            assert!(!is_offer(request().header("upgrade", other)), "{other}");
        }
        assert!(!is_offer(request()));
        assert!(!is_offer(request().header("upgrade", "websocket").header("upgrade", "websocket")));
        assert!(!is_offer(request().header("upgrade", "websocket").method(Method::POST)));
        assert!(!is_offer(request().header("upgrade", "websocket").version(Version::HTTP_10)));
        assert!(!is_offer(Request::get("/ws").header("upgrade", "websocket")), "no `Connection: Upgrade`");
        let with_body = request().header("upgrade", "websocket").body(Full::new(Bytes::from("x"))).unwrap();
        assert!(!offers_websocket(&with_body));
    }
}
