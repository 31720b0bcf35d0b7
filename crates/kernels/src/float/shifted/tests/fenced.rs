//! Slices that end where memory ends: who reads or writes past them, in assembly too, dies.

use std::ops::{Deref, DerefMut};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod memory {
    use std::ptr::{NonNull, null_mut};

    const PAGE: usize = 4096;

    /// Pages of which the last may not be touched.
    pub(super) struct Memory {
        at: NonNull<u8>,
        len: usize,
    }

    impl Memory {
        /// With room for so many bytes before the last page; gives where those that end there
        /// begin.
        pub(super) fn new(bytes: usize) -> (Self, NonNull<u8>) {
            let room = bytes.next_multiple_of(PAGE);
            let len = room + PAGE;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: new pages, which nothing else uses; the last of them is shut.
            let at = unsafe {
                let at = libc::mmap(null_mut(), len, access, kind, -1, 0);
                assert_ne!(at, libc::MAP_FAILED);
                let at = at.cast::<u8>();
                assert_eq!(
                    libc::mprotect(at.add(room).cast(), PAGE, libc::PROT_NONE),
                    0
                );
                at
            };
            let own = Self {
                at: NonNull::new(at).expect("not the first page"),
                len,
            };
            // SAFETY: at most `room` bytes on.
            let first = unsafe { own.at.add(room - bytes) };
            (own, first)
        }
    }

    impl Drop for Memory {
        fn drop(&mut self) {
            // SAFETY: these pages came from `mmap`, and their only user is gone.
            unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod memory {
    use std::ptr::NonNull;

    /// Words, without a fence.
    pub(super) struct Memory(#[allow(dead_code, reason = "keeps the words")] Vec<u64>);

    impl Memory {
        pub(super) fn new(bytes: usize) -> (Self, NonNull<u8>) {
            let mut words = vec![0; bytes.div_ceil(8)];
            let first = NonNull::from(words.as_mut_slice()).cast();
            (Self(words), first)
        }
    }
}

/// A slice behind which lies memory that may not be touched.
pub(super) struct Fenced<T> {
    first: std::ptr::NonNull<T>,
    len: usize,
    _memory: memory::Memory,
}

impl<T: Copy> Fenced<T> {
    /// A copy of these numbers.
    pub(super) fn new(numbers: &[T]) -> Self {
        let (memory, first) = memory::Memory::new(size_of_val(numbers));
        let first = first.cast::<T>();
        assert!(first.is_aligned());
        // SAFETY: there is room for these bytes from `first` on, apart from `numbers`.
        unsafe {
            first
                .as_ptr()
                .copy_from_nonoverlapping(numbers.as_ptr(), numbers.len())
        };
        Self {
            first,
            len: numbers.len(),
            _memory: memory,
        }
    }
}

impl<T> Deref for Fenced<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `new` has written so many there, and nothing else has them.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Fenced<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}
