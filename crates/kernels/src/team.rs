//! Threads that share one piece of work after another, with the least wait between them.
//!
//! A network is dozens of steps of some microseconds, and all items of one must be done before the
//! next begins. So threads spin for a short while before they sleep, nothing is allocated or
//! queued, and the caller works too. Item `i` waits for thread `i`, which has the neighbouring
//! items of earlier work in its cache; but whoever has nothing to do takes it, so that nobody waits
//! for a thread that the system has not woken.
//!
//! What crosses threads is a borrowed closure, which is why this lies in the crate that may write
//! `unsafe`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

/// Looks of a worker for new work before it sleeps: some tens of microseconds, longer than the
/// steps that are not shared.
const LOOKS: usize = 4_000;

/// Looks of the caller for the end of the work before it lets others have the core.
const PATIENCE: usize = 10_000;

/// Work, told which item.
type Work = &'static (dyn Fn(usize) + Sync);

/// A team of threads, of which the caller is the first.
#[derive(Debug)]
pub struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// How many pieces of work there have been, above a bit for each item that nobody has taken.
    open: AtomicU64,
    /// What is to be done; null when the team is dismissed.
    work: AtomicPtr<Work>,
    /// Items that are not done; at first, workers that have not begun.
    left: AtomicUsize,
    panicked: AtomicBool,
}

/// The bits of [`Shared::open`] that are items.
const ITEMS: u64 = u32::MAX as u64;

impl Team {
    /// The most items of one piece of work, and the most threads that are of use.
    pub const MOST: usize = 32;

    /// A team of `threads`, the caller one of them.
    ///
    /// # Errors
    /// When the system starts no more threads.
    ///
    /// # Panics
    /// When they are more than [`Team::MOST`].
    pub fn new(threads: usize) -> std::io::Result<Self> {
        assert!(threads <= Self::MOST, "too many threads");
        let shared = Arc::new(Shared {
            open: AtomicU64::new(0),
            work: AtomicPtr::default(),
            left: AtomicUsize::new(threads.saturating_sub(1)),
            panicked: AtomicBool::new(false),
        });
        let mut team = Self {
            shared,
            workers: Vec::new(),
        };
        for i in 1..threads {
            let shared = Arc::clone(&team.shared);
            let builder = thread::Builder::new().name(format!("exbit-{i}"));
            team.workers.push(builder.spawn(move || shared.serve(i))?);
        }
        // What a thread allocates to begin with, it has then.
        team.wait();
        Ok(team)
    }

    /// How many threads there are, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Does `work` on every item, in any order and on any thread.
    ///
    /// # Panics
    /// When `work` does, or there are more than [`Team::MOST`] items.
    pub fn each<T: Send>(&mut self, items: &mut [T], work: impl Fn(&mut T) + Sync) {
        assert!(items.len() <= Self::MOST, "too many items");
        let len = items.len();
        let items = AtomicPtr::new(items.as_mut_ptr());
        self.run(len, &|i| {
            // SAFETY: `i` is below `len`, the items are lent to this function until `run` is
            // through, and it gives every `i` to one thread only.
            work(unsafe { &mut *items.load(Ordering::Relaxed).add(i) });
        });
    }

    /// Runs `work` once for every number below `len`, and returns when all are done.
    fn run(&mut self, len: usize, work: &(dyn Fn(usize) + Sync)) {
        let shared = &*self.shared;
        let lent: *const &(dyn Fn(usize) + Sync) = &work;
        shared.left.store(len, Ordering::Relaxed);
        shared.work.store(lent.cast_mut().cast(), Ordering::Relaxed);
        self.open((1 << len) - 1);
        while shared.take(0) {}
        self.wait();
        let panicked = shared.panicked.swap(false, Ordering::Relaxed);
        assert!(!panicked, "work of the team panicked");
    }

    /// Waits until nothing is left.
    fn wait(&self) {
        let mut looks = 0;
        while self.shared.left.load(Ordering::Acquire) > 0 {
            looks += 1;
            if looks < PATIENCE {
                std::hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
    }

    /// Begins a new piece of work with these `items`.
    fn open(&self, items: u64) {
        let before = self.shared.open.load(Ordering::Relaxed);
        let round = (before | ITEMS).wrapping_add(1);
        self.shared.open.store(round | items, Ordering::Release);
        let workers = self.workers.iter();
        workers.for_each(|worker| worker.thread().unpark());
    }
}

impl Shared {
    /// A worker's life.
    fn serve(&self, thread: usize) {
        self.left.fetch_sub(1, Ordering::Release);
        let mut seen = 0;
        loop {
            let mut looks = 0;
            while self.open.load(Ordering::Acquire) & !ITEMS == seen {
                looks += 1;
                if looks < LOOKS {
                    std::hint::spin_loop();
                } else {
                    thread::park();
                }
            }
            seen = self.open.load(Ordering::Acquire) & !ITEMS;
            if self.work.load(Ordering::Relaxed).is_null() {
                return;
            }
            while self.take(thread) {}
        }
    }

    /// Takes an item that is open, best that of `thread`, and works on it; false where there is
    /// none.
    fn take(&self, thread: usize) -> bool {
        let mut open = self.open.load(Ordering::Acquire);
        loop {
            let items = open & ITEMS;
            if items == 0 {
                return false;
            }
            let own = items >> thread & 1 == 1;
            let item = if own {
                thread
            } else {
                items.trailing_zeros() as usize
            };
            let work = self.work.load(Ordering::Relaxed);
            // While an item of it is open, a piece of work is not over: if nobody has taken this
            // one, `work` belongs to it.
            let rest = open & !(1 << item);
            let (ok, fail) = (Ordering::Acquire, Ordering::Acquire);
            match self.open.compare_exchange_weak(open, rest, ok, fail) {
                Err(now) => open = now,
                Ok(_) => {
                    // SAFETY: the caller of `run` keeps what this points to until nothing is left,
                    // and this item is left until the line that counts it out.
                    let work = unsafe { *work };
                    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| work(item))) {
                        // Dropping it could panic once more, before this item is counted out.
                        std::mem::forget(payload);
                        self.panicked.store(true, Ordering::Relaxed);
                    }
                    self.left.fetch_sub(1, Ordering::Release);
                    return true;
                }
            }
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared
            .work
            .store(std::ptr::null_mut(), Ordering::Relaxed);
        self.open(0);
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its work and has none of its own.
            drop(worker.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once_in_every_round() {
        for threads in [1, 2, 3, 5] {
            let mut team = Team::new(threads).unwrap();
            let mut items = [0; 7];
            for _ in 0..200 {
                team.each(&mut items, |item| *item += 1);
            }
            team.each(&mut [] as &mut [u8], |_| unreachable!());
            assert_eq!((items, team.threads()), ([200; 7], threads));
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_goes_on() {
        let mut team = Team::new(3).unwrap();
        for bad in 0..3 {
            let mut items = [0, 1, 2];
            let each = AssertUnwindSafe(|| {
                team.each(&mut items, |&mut item| assert_ne!(item, bad, "on purpose"));
            });
            assert!(catch_unwind(each).is_err());
        }
        let mut items = [1, 1, 1];
        team.each(&mut items, |item| *item *= 2);
        assert_eq!(items, [2, 2, 2]);
    }
}
