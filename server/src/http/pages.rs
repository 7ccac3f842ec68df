//! Encoded events, shared by all who follow the same log at the same place.
//!
//! A thousand followers at the tail get the same bytes: the first one to come encodes them, the others
//! take them from here. Only the newest events are kept, within a number of bytes; who lags behind
//! encodes for itself.
//!
//! Not here: what an event holds (`follow`).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use client::types::{LogId, Position};

/// Who reads the event, and how its records stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageForm {
    /// A follow of the API.
    Records,
    /// A reader of a stream of JSON.
    StreamJson,
    /// One of a stream of text.
    StreamText,
    /// One of a stream of bytes.
    StreamBytes,
}

/// Which records an event holds, and what it says of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageKey {
    pub(super) log: LogId,
    pub(super) from: Position,
    pub(super) next: Position,
    pub(super) tail: Position,
    pub(super) form: PageForm,
}

/// The newest encoded events.
#[derive(Debug)]
pub(super) struct Pages {
    kept: Mutex<Kept>,
    count_max: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Kept {
    pages: VecDeque<(PageKey, Bytes)>,
    bytes: usize,
}

impl Pages {
    /// None yet, and never more than this.
    pub(super) fn new(count_max: usize, bytes_max: usize) -> Self {
        Self { kept: Mutex::default(), count_max, bytes_max }
    }

    /// The event of this key, encoded by `encode` unless somebody else did so lately.
    pub(super) fn get(&self, key: PageKey, encode: impl FnOnce() -> Bytes) -> Bytes {
        if let Some(page) = self.lock().find(key) {
            return page;
        }
        // Not under the lock: who follows another log need not wait for this.
        let page = encode();
        let mut kept = self.lock();
        if let Some(same) = kept.find(key) {
            return same;
        }
        if page.len() <= self.bytes_max {
            kept.bytes += page.len();
            kept.pages.push_front((key, page.clone()));
            while kept.pages.len() > self.count_max || kept.bytes > self.bytes_max {
                let Some((_, oldest)) = kept.pages.pop_back() else { break };
                kept.bytes -= oldest.len();
            }
        }
        page
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A panic while it was held left whole pages behind.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn find(&self, key: PageKey) -> Option<Bytes> {
        self.pages.iter().find(|(kept, _)| *kept == key).map(|(_, page)| page.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn key(from: u64) -> PageKey {
        let at = Position::new;
        let (next, form) = (at(from + 1), PageForm::Records);
        PageKey { log: LogId::new(1), from: at(from), next, tail: next, form }
    }

    #[test]
    fn the_same_place_is_encoded_once_for_all() {
        let pages = Pages::new(8, 1_000);
        let encoded = Cell::new(0);
        for _ in 0..1_000 {
            let page = pages.get(key(7), || {
                encoded.set(encoded.get() + 1);
                Bytes::from_static(b"x")
            });
            assert_eq!(page, "x");
        }
        assert_eq!(encoded.get(), 1);
    }

    #[test]
    fn what_differs_in_anything_is_another_page() {
        let pages = Pages::new(8, 1_000);
        pages.get(key(7), || Bytes::from_static(b"x"));
        for other in [
            PageKey { log: LogId::new(2), ..key(7) },
            PageKey { tail: Position::new(99), ..key(7) },
            PageKey { next: Position::new(9), ..key(7) },
            PageKey { form: PageForm::StreamText, ..key(7) },
        ] {
            assert_eq!(pages.get(other, || Bytes::from_static(b"y")), "y");
        }
    }

    #[test]
    fn no_more_is_kept_than_allowed() {
        let pages = Pages::new(3, 10);
        for from in 0..100 {
            pages.get(key(from), || Bytes::from_static(b"1234"));
        }
        assert_eq!(pages.lock().pages.len(), 2);
        assert_eq!(pages.lock().bytes, 8);
        pages.get(key(200), || Bytes::from_static(b"much too large"));
        assert_eq!(pages.lock().bytes, 8);
    }
}
