//! Who is told of what was applied.

use std::sync::{Arc, Mutex, PoisonError};

use crate::WhenApplied;

/// The one who is told, if anybody is.
#[derive(Default)]
pub(super) struct Hook(Mutex<Option<Arc<WhenApplied>>>);

impl Hook {
    pub(super) fn set(&self, told: Box<WhenApplied>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(told.into());
    }

    pub(super) fn get(&self) -> Option<Arc<WhenApplied>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Nobody is told any more.
    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
