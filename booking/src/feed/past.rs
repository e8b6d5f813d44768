//! The last frames of an event, for those who come back.
//!
//! Frames follow each other without a gap: each tells the state after its version of everything that changed since
//! the frame before. Whoever knows any version within them is brought up to date by the frames that end later.
//! Bounded in bytes: beyond that a snapshot costs less than what was missed.

use std::collections::VecDeque;

use super::frame::Frame;

/// Most bytes of frames kept.
const MAX_BYTES: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Past {
    /// The version before the first frame.
    start: i64,
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Past {
    /// Nothing is known before a version.
    pub(super) const fn from(version: i64) -> Self {
        Self { start: version, frames: VecDeque::new(), bytes: 0 }
    }

    /// The oldest version from which somebody can be brought up to date.
    pub(super) const fn start(&self) -> i64 {
        self.start
    }

    /// Adds the frame that follows.
    pub(super) fn push(&mut self, frame: Frame) {
        self.bytes += frame.bytes.len();
        self.frames.push_back(frame);
        while self.bytes > MAX_BYTES {
            let Some(oldest) = self.frames.pop_front() else { return };
            self.bytes -= oldest.bytes.len();
            self.start = oldest.version;
        }
    }

    /// Adds the frame that came before, from a version on; `false` when there is no room.
    pub(super) fn push_before(&mut self, start: i64, frame: Frame) -> bool {
        let fits = self.bytes + frame.bytes.len() <= MAX_BYTES;
        if fits {
            self.bytes += frame.bytes.len();
            self.frames.push_front(frame);
            self.start = start;
        }
        fits
    }

    /// The frames that somebody who knows a version has missed; none when that is too long ago.
    pub(super) fn since(&self, version: i64) -> Option<Vec<Frame>> {
        if version < self.start {
            return None;
        }
        let known = self.frames.partition_point(|frame| frame.version <= version);
        Some(self.frames.range(known..).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Kind;
    use super::*;

    fn frame(version: i64, len: usize) -> Frame {
        Frame { version, kind: Kind::Change, bytes: vec![0; len].into() }
    }

    fn versions(past: &Past, since: i64) -> Option<Vec<i64>> {
        Some(past.since(since)?.iter().map(|frame| frame.version).collect())
    }

    #[test]
    fn what_was_missed_is_told_from_any_version_within() {
        let mut past = Past::from(10);
        assert_eq!((versions(&past, 9), versions(&past, 10)), (None, Some(vec![])));
        past.push(frame(13, 10));
        past.push(frame(14, 10));
        assert_eq!(versions(&past, 10), Some(vec![13, 14]));
        assert_eq!(versions(&past, 12), Some(vec![13, 14]), "from the middle of a frame");
        assert_eq!(versions(&past, 13), Some(vec![14]));
        assert_eq!(versions(&past, 15), Some(vec![]));
        assert!(past.push_before(7, frame(10, 10)));
        assert_eq!((versions(&past, 8), versions(&past, 6)), (Some(vec![10, 13, 14]), None));
    }

    #[test]
    fn the_oldest_make_room() {
        let mut past = Past::from(0);
        for version in 1..=20 {
            past.push(frame(version, MAX_BYTES / 8));
        }
        assert_eq!((past.start(), versions(&past, 11)), (12, None));
        assert_eq!(versions(&past, 12).unwrap().len(), 8);
        assert!(!past.push_before(11, frame(12, MAX_BYTES / 8)));
        assert_eq!(past.start(), 12);
    }
}
