//! A Session allocates nothing once it stands: neither for an image, on any number of threads, nor
//! for a batch as large as one before, nor for leaving early.

mod random;

use std::alloc::System;

use exbit_engine::Session;
use random::Random;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

// The only test of this file: another on another thread would be counted too.
#[test]
fn a_run_allocates_nothing() {
    for seed in 0..80 {
        let mut random = Random::new(seed);
        let steps = 1 + random.below(9);
        let mut program = match seed % 2 {
            0 => random::program(&mut random, steps),
            _ => random::with_exits(&mut random, steps),
        };
        if seed % 3 == 0 {
            program.pack(0);
        }
        for threads in [1, 2, 3] {
            let mut session = Session::new(&program, threads).unwrap();
            let pixels = random.pixels(5 * session.input_len());
            let one = session.input_len();
            session.run_every_exit(&pixels, 5).unwrap();
            let region = Region::new(COUNTING);
            for count in [1, 3, 5] {
                session.run(&pixels[..one]).unwrap();
                session.run_batch(&pixels[..count * one], count).unwrap();
                session
                    .run_every_exit(&pixels[..count * one], count)
                    .unwrap();
                assert_eq!(session.exits().len(), count);
            }
            let change = region.change();
            let made = change.allocations + change.reallocations;
            assert_eq!(made, 0, "seed {seed}, {threads} threads: {change:?}");
        }
    }
}
