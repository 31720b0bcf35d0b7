//! Which instructions a Session takes: the fastest that this CPU has, or those that somebody names.

use exbit_kernels::Isa;

use crate::error::{Error, ErrorKind, Result};

/// The environment variable that names them.
const VARIABLE: &str = "EXBIT_ISA";

/// The names of the instruction sets that this CPU has, the fastest first, `scalar` last.
pub fn present_isas() -> Vec<&'static str> {
    Isa::present().into_iter().map(Isa::name).collect()
}

/// The name of the instructions that a new Session takes: the fastest, or what `EXBIT_ISA` names.
///
/// # Errors
/// `Unsupported` when `EXBIT_ISA` names no instructions that this CPU has.
pub fn isa() -> Result<&'static str> {
    chosen_isa().map(Isa::name)
}

pub(crate) fn chosen_isa() -> Result<Isa> {
    match std::env::var(VARIABLE) {
        Err(std::env::VarError::NotPresent) => Ok(Isa::best()),
        Ok(name) => find(&name, VARIABLE),
        Err(std::env::VarError::NotUnicode(name)) => find(&name.to_string_lossy(), VARIABLE),
    }
}

/// The instructions that a caller names.
pub(crate) fn named_isa(name: &str) -> Result<Isa> {
    find(name, "instructions")
}

/// The instructions called `name`, as `place` says.
fn find(name: &str, place: &str) -> Result<Isa> {
    Isa::named(name).ok_or_else(|| {
        let present = present_isas().join(", ");
        let message = format!("{name:?} is not there; this CPU has {present}");
        Error::new(ErrorKind::Unsupported, place, message)
    })
}
