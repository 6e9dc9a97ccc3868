//! A deadline that moves with every call.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// Watches over one deadline after another. Setting a timer takes a lock that all tasks share, so where the next
/// deadline is later than the last, the timer stays as it is and is set anew only when it rings.
pub(crate) struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    /// For deadlines from now on.
    pub(crate) fn new(first: Instant) -> Self {
        Self(Box::pin(sleep_until(first)))
    }

    /// Ready once the deadline has passed.
    pub(crate) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if deadline < self.0.deadline() {
            self.0.as_mut().reset(deadline);
        }
        loop {
            ready!(self.0.as_mut().poll(cx));
            if self.0.deadline() >= deadline {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    #[tokio::test]
    async fn each_deadline_is_kept_whether_later_or_earlier_than_the_one_before() {
        let mut alarm = Alarm::new(Instant::now());
        for ahead in [20, 60, 10, 40].map(Duration::from_millis) {
            let begun = Instant::now();
            let far = begun + Duration::from_secs(60);
            assert!(
                poll_fn(|cx| Poll::Ready(alarm.poll(far, cx).is_pending())).await,
                "a call answered in time"
            );
            poll_fn(|cx| alarm.poll(begun + ahead, cx)).await;
            assert!((ahead..Duration::from_secs(30)).contains(&begun.elapsed()));
        }
    }
}
