//! The body of an answer to a client.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use pin_project_lite::pin_project;
use waypost_domain::Failure;
use waypost_outbound::{AnswerBody, BodyFault};

pin_project! {
    /// Nothing, some bytes, a receiver's body as it comes, or what comes as things happen.
    #[derive(Default)]
    pub struct Body {
        #[pin]
        kind: Kind,
    }
}

pin_project! {
    #[project = KindProjection]
    #[derive(Default)]
    enum Kind {
        #[default]
        Empty,
        Full { bytes: Option<Bytes> },
        Relayed { first: Option<Frame<Bytes>>, body: Pin<Box<AnswerBody>> },
        Streaming { body: Stream },
    }
}

type Stream = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyFault> + Send>>;

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Self::default()
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Full { bytes: Some(bytes.into()).filter(|bytes| !bytes.is_empty()) } }
    }

    /// What comes as things happen, for hours if need be: its silence is no stall. It is asked for more only while the client
    /// takes what was written, and a client that takes nothing for [`crate::limits::STALL_TIME_MAX`] is cut off. At a soft
    /// stop it must end by itself.
    pub fn streaming<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: fmt::Display,
    {
        let fault = |error: B::Error| BodyFault { failure: Failure::Ours, detail: error.to_string() };
        Self { kind: Kind::Streaming { body: Box::pin(body.map_err(fault)) } }
    }

    /// Whether it comes as things happen.
    pub(crate) fn is_streaming(&self) -> bool {
        matches!(self.kind, Kind::Streaming { .. })
    }

    /// A receiver's, of which the first part has come already.
    pub(crate) fn relayed(first: Frame<Bytes>, body: Pin<Box<AnswerBody>>) -> Self {
        Self { kind: Kind::Relayed { first: Some(first), body } }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match self.project().kind.project() {
            KindProjection::Empty => Poll::Ready(None),
            KindProjection::Full { bytes } => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            KindProjection::Relayed { first, body } => match first.take() {
                Some(frame) => Poll::Ready(Some(Ok(frame))),
                None => body.as_mut().poll_frame(cx),
            },
            KindProjection::Streaming { body } => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full { bytes } => bytes.is_none(),
            Kind::Relayed { first, body } => first.is_none() && body.is_end_stream(),
            Kind::Streaming { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Streaming { body } => body.size_hint(),
            Kind::Relayed { first, body } => {
                let come = first.as_ref().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
                let rest = body.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower() + come);
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper + come);
                }
                hint
            }
        }
    }
}
