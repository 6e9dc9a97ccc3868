# The commands of the house. `make test` on a fresh Debian machine with the Rust toolchain installs what
# it needs and passes every test.

ARGS ?=
BENCH ?= --short

.PHONY: run demo test lint bench packages

# The gateway, built for release: make run ARGS='--allow chatwoot.example.com'
run: packages
	cargo run --release -- serve $(ARGS)

demo: packages
	cargo run --release -- demo $(ARGS)

test: packages
	./scripts/test

lint: packages
	./scripts/lint

# Beside nginx and the floor, in one run: make bench, or make bench BENCH= for the full one.
bench: packages
	./scripts/packages nginx-light
	cargo build --release -p waypost -p waypost-bench
	target/release/waypost-bench $(BENCH)

packages:
	@./scripts/packages gcc libc6-dev ca-certificates
