//! Buffers that threads keep between calls: a fresh one costs a page fault every 4 KiB, which is
//! as much time as the arithmetic done on it.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Floats that a thread keeps at most: a gibibyte. What it keeps, it has needed at once.
const KEPT: usize = 1 << 28;

/// Bytes of a cache line: a buffer begins with one.
const LINE: usize = 64;

/// The free buffers of a thread, the shortest first, and their floats together.
#[derive(Default)]
struct Free {
    buffers: Vec<Vec<f32>>,
    floats: usize,
}

thread_local! {
    static FREE: RefCell<Free> = RefCell::default();
}

impl Free {
    /// The shortest buffer of at least `room`, if it is not far too long.
    fn find(&mut self, room: usize) -> Option<Vec<f32>> {
        let at = self.buffers.partition_point(|buffer| buffer.len() < room);
        self.buffers
            .get(at)
            .filter(|buffer| buffer.len() <= 2 * room + 1024)?;
        let buffer = self.buffers.remove(at);
        self.floats -= buffer.len();
        Some(buffer)
    }

    fn keep(&mut self, buffer: Vec<f32>) {
        if self.floats + buffer.len() <= KEPT {
            self.floats += buffer.len();
            let at = self
                .buffers
                .partition_point(|other| other.len() < buffer.len());
            self.buffers.insert(at, buffer);
        }
    }
}

/// A buffer of floats that goes back to a thread when dropped.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    data: Vec<f32>,
    start: usize,
    len: usize,
}

/// A buffer of `len` floats with unspecified contents.
pub(crate) fn take(len: usize) -> Scratch {
    if len == 0 {
        return Scratch::default();
    }
    let room = len + LINE / size_of::<f32>();
    let data = FREE.with_borrow_mut(|free| free.find(room));
    let data = data.unwrap_or_else(|| vec![0.0; room]);
    let start = data.as_ptr().align_offset(LINE).min(data.len() - len);
    Scratch { data, start, len }
}

/// A copy of `x`.
pub(crate) fn copy(x: &[f32]) -> Scratch {
    let mut own = take(x.len());
    own.copy_from_slice(x);
    own
}

impl Clone for Scratch {
    fn clone(&self) -> Self {
        copy(self)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.data.is_empty() {
            let data = std::mem::take(&mut self.data);
            // A thread on its way out has no list any more.
            let _ = FREE.try_with(|free| free.borrow_mut().keep(data));
        }
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data[self.start..self.start + self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_taken_again() {
        let mut first = take(1500);
        first[1499] = 7.0;
        let place = first.as_ptr();
        drop(first);
        let again = take(1480);
        assert_eq!((again.as_ptr(), again.len()), (place, 1480));
        assert_ne!(take(1480).as_ptr(), place);
        drop(again);
        assert_ne!(take(5000).as_ptr(), place);
        assert_ne!(take(8).as_ptr(), place, "a far smaller one leaves it alone");
    }
}
