# check: everything before a commit. fix: what tools can mend. test: as in the README.
# real: every figure on real data, hours; needs ../shared (see lab/).
.PHONY: check fix test docs real

check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo test --workspace
	EXBIT_ISA=scalar cargo test -p exbit-engine -p exbit
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

fix:
	cargo clippy --workspace --all-targets --fix --allow-dirty
	cargo fmt --all

test:
	cargo test --workspace

docs:
	cargo doc --workspace --no-deps --open

real:
	cargo run --release -p exbit-lab -- --record lab/records/latest.csv --readme README.md import w8a8 compressed mixed further full equality cost memory
