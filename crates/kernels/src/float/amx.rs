//! Matrices in registers: tiles of at most 16 rows of 64 bytes, which one instruction multiplies
//! (Intel AMX; Software Developer's Manual, volume 1, chapter 18). Their intrinsics are not stable
//! yet, so each product is one block of assembly that begins by setting the tiles up and ends by
//! releasing them: between blocks no thread holds any.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

use super::bf16::{Half, Pair};

/// Rows of a tile, at most; also its columns, in floats or in pairs of halves.
pub(crate) const SIDE: usize = 16;

/// Bytes of a row of a tile.
pub(crate) const LINE: usize = 64;

/// The proof that this CPU has tiles of bfloat16 and that the system lets this process use them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tiles(());

impl Tiles {
    /// The proof, where the CPU has them and the system allows them.
    ///
    /// The first call asks the system, once and for the whole process. From then on a signal's
    /// frame may hold 8 KiB of tiles: an alternate stack for signals below the system's minimum
    /// (`AT_MINSIGSTKSZ`) is refused, and a thread that has used tiles has too little of Rust's own
    /// left to tell of a stack overflow: it dies of SIGSEGV without the message.
    pub(crate) fn detect() -> Option<Self> {
        static ALLOWED: OnceLock<bool> = OnceLock::new();
        let allowed = ALLOWED.get_or_init(|| has_tiles() && request_tiles());
        allowed.then_some(Self(()))
    }
}

/// Whether the CPU knows tiles and products of bfloat16 in them.
fn has_tiles() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    let both = AMX_BF16 | AMX_TILE;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & both == both
}

/// Asks for the 8 KiB of state that a thread with tiles has; a system that knows none says no.
#[cfg(target_os = "linux")]
fn request_tiles() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: this call of the system takes two numbers and touches no memory of ours.
    let code = unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        )
    };
    code == 0
}

/// Other systems are not asked: how they lend tiles we have not tried.
#[cfg(not(target_os = "linux"))]
fn request_tiles() -> bool {
    false
}

/// Rows and bytes of a row of each of the eight tiles, as LDTILECFG reads them: there is room for
/// sixteen.
#[repr(C, align(64))]
pub(crate) struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    line: [u16; 16],
    rows: [u8; 16],
}

impl Shapes {
    /// Each as rows and entries of 4 bytes.
    pub(crate) fn new(tiles: [[usize; 2]; 8]) -> Self {
        let mut own = Self {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            line: [0; 16],
            rows: [0; 16],
        };
        for (i, [rows, columns]) in tiles.into_iter().enumerate() {
            assert!((1..=SIDE).contains(&rows) && (1..=SIDE).contains(&columns));
            (own.rows[i], own.line[i]) = (rows as u8, 4 * columns as u16);
        }
        own
    }
}

/// Rows in memory, for a tile.
#[derive(Clone, Copy)]
pub(crate) struct Lines<T> {
    /// Where the first begins, or those of several tiles.
    pub(crate) at: T,
    /// Bytes from one to the next.
    pub(crate) apart: usize,
}

/// `c[j] = sum_s a[s] b[s][j]`: four tiles side by side in rows of `c`, from the tiles of `a`,
/// which lie end to end, and of `b`, four side by side from byte `steps[s]` on. Shapes: `c` in 0
/// to 3, `a` in 4, `b` in 5 to 7.
///
/// # Safety
/// The CPU has tiles, and `shapes` fit each other. Rows of `a` are [`LINE`] bytes apart, those of
/// `b` and `c` as they say; all that `shapes` and `steps` name lie in the buffers, of which `c` is
/// ours to write.
pub(crate) unsafe fn product(
    shapes: &Shapes,
    c: Lines<*mut f32>,
    a: *const Pair,
    b: Lines<*const Pair>,
    steps: &[usize],
) {
    assert!(!steps.is_empty(), "a product of nothing");
    // SAFETY: the caller's promises; every register that changes is named, and no Rust code holds
    // tiles across the block.
    unsafe {
        asm!(
            "ldtilecfg [{shapes}]", // Also empties them.
            "2:",
            "mov {row}, [{steps}]",
            "add {row}, {b}",
            "tileloadd tmm4, [{a} + {line}*1]",
            "tileloadd tmm5, [{row} + {b_apart}*1]",
            "tileloadd tmm6, [{row} + {b_apart}*1 + 64]",
            "tileloadd tmm7, [{row} + {b_apart}*1 + 128]",
            "tdpbf16ps tmm0, tmm4, tmm5",
            "tdpbf16ps tmm1, tmm4, tmm6",
            "tileloadd tmm5, [{row} + {b_apart}*1 + 192]",
            "tdpbf16ps tmm2, tmm4, tmm7",
            "tdpbf16ps tmm3, tmm4, tmm5",
            "add {a}, {tile}",
            "add {steps}, 8",
            "dec {count}",
            "jnz 2b",
            "tilestored [{c} + {c_apart}*1], tmm0",
            "tilestored [{c} + {c_apart}*1 + 64], tmm1",
            "tilestored [{c} + {c_apart}*1 + 128], tmm2",
            "tilestored [{c} + {c_apart}*1 + 192], tmm3",
            "tilerelease",
            shapes = in(reg) shapes,
            row = out(reg) _,
            steps = inout(reg) steps.as_ptr() => _,
            count = inout(reg) steps.len() => _,
            a = inout(reg) a => _,
            tile = in(reg) shapes.rows[4] as usize * LINE,
            line = in(reg) LINE,
            b = in(reg) b.at,
            b_apart = in(reg) b.apart,
            c = in(reg) c.at,
            c_apart = in(reg) c.apart,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// `d[j] += sum_s b[j][s] y[s]` for three `j`: tiles end to end in `d`, from the tiles of `y`,
/// which lie end to end, and of each `b`, side by side; `steps` of them. Shapes: `d` in 0 to 2,
/// `y` in 3, `b` in 4 to 6.
///
/// # Safety
/// The CPU has tiles, and `shapes` fit each other. Rows of `d` and `y` are [`LINE`] bytes apart
/// and tiles [`SIDE`] rows, those of `b` as it says; all that `shapes` and `steps` name lie in the
/// buffers, of which `d` is ours to write.
pub(crate) unsafe fn dots(
    shapes: &Shapes,
    d: *mut f32,
    y: *const Pair,
    b: Lines<[*const Half; 3]>,
    steps: usize,
) {
    assert!(steps > 0, "sums of nothing");
    // SAFETY: the caller's promises; every register that changes is named, and no Rust code holds
    // tiles across the block.
    unsafe {
        asm!(
            "ldtilecfg [{shapes}]",
            "tileloadd tmm0, [{d} + {line}*1]",
            "tileloadd tmm1, [{d} + {line}*1 + 1024]",
            "tileloadd tmm2, [{d} + {line}*1 + 2048]",
            "2:",
            "tileloadd tmm3, [{y} + {line}*1]",
            "tileloadd tmm4, [{b0} + {apart}*1]",
            "tileloadd tmm5, [{b1} + {apart}*1]",
            "tileloadd tmm6, [{b2} + {apart}*1]",
            "tdpbf16ps tmm0, tmm4, tmm3",
            "tdpbf16ps tmm1, tmm5, tmm3",
            "tdpbf16ps tmm2, tmm6, tmm3",
            "add {y}, 1024",
            "add {b0}, 64",
            "add {b1}, 64",
            "add {b2}, 64",
            "dec {count}",
            "jnz 2b",
            "tilestored [{d} + {line}*1], tmm0",
            "tilestored [{d} + {line}*1 + 1024], tmm1",
            "tilestored [{d} + {line}*1 + 2048], tmm2",
            "tilerelease",
            shapes = in(reg) shapes,
            count = inout(reg) steps => _,
            d = in(reg) d,
            y = inout(reg) y => _,
            line = in(reg) LINE,
            apart = in(reg) b.apart,
            b0 = inout(reg) b.at[0] => _,
            b1 = inout(reg) b.at[1] => _,
            b2 = inout(reg) b.at[2] => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
