# check: everything before a commit, the tests on each instruction set. fix: what tools can mend. test: as in the README.
# real: the figures of lab/records/latest.csv on real data, hours; needs ../shared (see lab/).
.PHONY: check fix test docs real suite-avxvnni suite-avx2 suite-scalar miri valgrind asan

check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo test --workspace
	$(MAKE) suite-avxvnni suite-avx2 suite-scalar
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# The tests of everything that runs kernels, on slower instructions than this CPU's fastest.
suite-avxvnni suite-avx2 suite-scalar: suite-%:
	@if EXBIT_ISA=$* cargo run --quiet -p exbit-engine --example isa; \
	then EXBIT_ISA=$* cargo test -p exbit-engine -p exbit; \
	else echo "THE TESTS DID NOT RUN ON $*: this CPU does not have it" >&2; fi

# Undefined behaviour: what Miri interprets, what Valgrind sees of the kernels up to AVX2, and what
# AddressSanitizer sees of all of them.
miri:
	cargo +nightly miri test -p exbit-kernels

valgrind:
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind --quiet --error-exitcode=9" \
	cargo test -p exbit-kernels --test conformance

asan:
	RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=target/asan \
	cargo +nightly test -p exbit-kernels --features float --lib --test conformance --target x86_64-unknown-linux-gnu

fix:
	cargo clippy --workspace --all-targets --fix --allow-dirty
	cargo fmt --all

test:
	cargo test --workspace

docs:
	cargo doc --workspace --no-deps --open

real:
	cargo run --release -p exbit-lab -- --record lab/records/latest.csv --readme README.md import w8a8 compressed mixed further full equality cost memory
	cargo run --release -p exbit-lab -- --record lab/records/latest.csv --network resnet20 trained
	cargo run --release -p exbit-lab -- --record lab/records/latest.csv --network lite0 full-mixed
