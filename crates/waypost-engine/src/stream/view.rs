//! Views: how a frame looks to a reader.

/// How frames look to a reader. Every view of a frame is written once, however many read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View {
    /// Whether it may see what people wrote and what they are called. Without, a frame tells its ids, types, times,
    /// number, conversation and status, as the event's record has them.
    pub content: bool,
    /// Whether the event goes along as Meta wrote it; only with content, and in the gateway's own dialect.
    pub raw: bool,
    /// Whose words it is in.
    pub dialect: Dialect,
}

/// Whose words frames are in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Dialect {
    /// The gateway's own.
    #[default]
    Waypost,
    /// Whatomate's as it is documented: `message:new`, …
    WhatomateDocs,
    /// Whatomate's as its code speaks it: `new_message`, …
    WhatomateCode,
}

/// How many views there are.
pub(super) const VIEWS: usize = 7;

impl View {
    /// The gateway's own words, content and all, without what Meta wrote.
    pub const WHOLE: Self = Self { content: true, raw: false, dialect: Dialect::Waypost };

    /// The place of its writing in a frame: views that look alike share one.
    pub(super) const fn slot(self) -> usize {
        match (self.dialect, self.content, self.raw) {
            (Dialect::Waypost, false, _) => 0,
            (Dialect::Waypost, true, false) => 1,
            (Dialect::Waypost, true, true) => 2,
            (Dialect::WhatomateDocs, false, _) => 3,
            (Dialect::WhatomateDocs, true, _) => 4,
            (Dialect::WhatomateCode, false, _) => 5,
            (Dialect::WhatomateCode, true, _) => 6,
        }
    }

    /// The view with this place.
    pub(super) const fn of_slot(slot: usize) -> Self {
        let (content, raw) = (matches!(slot, 1 | 2 | 4 | 6), slot == 2);
        let dialect = match slot {
            0..=2 => Dialect::Waypost,
            3 | 4 => Dialect::WhatomateDocs,
            _ => Dialect::WhatomateCode,
        };
        Self { content, raw, dialect }
    }
}

const _: () = {
    let mut slot = 0;
    while slot < VIEWS {
        assert!(View::of_slot(slot).slot() == slot);
        slot += 1;
    }
};
