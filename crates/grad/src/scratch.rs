//! Buffers that threads keep between calls: a fresh one costs a page fault every 4 KiB, which is
//! as much time as the arithmetic done on it.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// How many buffers a thread keeps.
const KEPT: usize = 64;

/// Bytes of a cache line: a buffer begins with one.
const LINE: usize = 64;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of floats that goes back to its thread when dropped.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    data: Vec<f32>,
    start: usize,
    len: usize,
}

/// A buffer of `len` floats with unspecified contents.
pub(crate) fn take(len: usize) -> Scratch {
    let room = len + LINE / size_of::<f32>();
    let data = FREE.with_borrow_mut(|free| {
        let fits = (0..free.len()).filter(|&i| free[i].len() >= room);
        let tightest = fits.min_by_key(|&i| free[i].len());
        tightest.map(|i| free.swap_remove(i))
    });
    let data = data.unwrap_or_else(|| vec![0.0; room]);
    let start = data.as_ptr().align_offset(LINE).min(room - len);
    Scratch { data, start, len }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.data.is_empty() {
            return;
        }
        let data = std::mem::take(&mut self.data);
        FREE.with_borrow_mut(|free| {
            free.push(data);
            if free.len() > KEPT {
                let smallest = (0..free.len()).min_by_key(|&i| free[i].len());
                smallest.map(|i| free.swap_remove(i));
            }
        });
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
        let mut first = take(100);
        first[99] = 7.0;
        let place = first.as_ptr();
        drop(first);
        let again = take(80);
        assert_eq!((again.as_ptr(), again.len()), (place, 80));
        assert_ne!(take(80).as_ptr(), place);
    }
}
