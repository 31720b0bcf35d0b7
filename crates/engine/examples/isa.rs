//! Prints the instructions that a Session takes here, or says why those that `EXBIT_ISA` names are
//! not there and fails: how `make check` knows what it can run the tests on.

fn main() {
    match exbit_engine::isa() {
        Ok(isa) => println!("{isa}"),
        Err(e) => {
            eprintln!("{e}");
            std::process::exit(1);
        }
    }
}
