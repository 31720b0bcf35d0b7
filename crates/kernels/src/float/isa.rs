//! Which instructions the float kernels use. Unlike the integer kernels they are not equal to
//! the last bit: a fused multiply-add rounds once, and lanes sum in their own order.

/// A set of instructions that this CPU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Level {
    /// The widest that this CPU has. The standard library keeps the answers: asking is a load.
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                return Level::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Level::Avx2;
            }
        }
        Level::Portable
    }

    /// All that this CPU has.
    #[cfg(test)]
    pub(crate) fn present() -> Vec<Self> {
        match Self::best() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => vec![Level::Avx512, Level::Avx2, Level::Portable],
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => vec![Level::Avx2, Level::Portable],
            Level::Portable => vec![Level::Portable],
        }
    }
}
