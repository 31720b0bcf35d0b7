//! Which instructions the kernels use: the one place that asks the CPU.

/// A set of instructions that this CPU has: it can only be got from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Scalar,
}

impl Isa {
    /// What every CPU has: the definition itself.
    pub const SCALAR: Isa = Isa(Level::Scalar);

    /// All that this CPU has, the fastest first, the definition last.
    pub fn present() -> Vec<Isa> {
        vec![Self::SCALAR]
    }

    /// The fastest that this CPU has.
    pub fn best() -> Isa {
        Self::present()[0]
    }

    /// The one called `name`, if this CPU has it.
    pub fn named(name: &str) -> Option<Isa> {
        Self::present().into_iter().find(|isa| isa.name() == name)
    }

    /// `scalar`, `avx2` or `avx512vnni`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Scalar => "scalar",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_present_one_is_found_by_its_name() {
        for isa in Isa::present() {
            assert_eq!(Isa::named(isa.name()), Some(isa));
        }
        assert_eq!(Isa::named("mmx"), None);
    }
}
