# The commands of the house. `make test` on a fresh Debian machine with the Rust toolchain installs what
# it needs and passes every test.

ARGS ?=
BENCH ?= --short

.PHONY: run demo test lint bench deb test-deb packages

# The gateway, built for release: make run ARGS='--allow chatwoot.example.com'
run: packages
	cargo run --release -- serve $(ARGS)

demo: packages
	cargo run --release -- demo $(ARGS)

test: packages
	./scripts/packages pebble
	./scripts/test

lint: packages
	./scripts/lint

# Beside its peers and the floor, in one run: make bench, or make bench BENCH= for the full one (bench/README.md).
bench: packages
	./scripts/packages --unstarted nginx-light haproxy caddy redis-server
	@command -v npm >/dev/null || ./scripts/packages nodejs npm
	@test bench/peers/node/node_modules/.package-lock.json -nt bench/peers/node/package-lock.json || \
		npm ci --prefix bench/peers/node --ignore-scripts --no-audit --no-fund || \
		echo 'the peers on Node could not be installed and are left out' >&2
	cargo build --release -p waypost -p waypost-bench
	target/release/waypost-bench $(BENCH)

# The Debian package; its path is said last.
deb: packages
	./scripts/packages binutils xz-utils
	./scripts/deb

# Installs, starts, upgrades, removes and purges it, then does it again under a real systemd. Not a part of `make test`: it needs
# root, a kernel with overlayfs, and for the latter a Debian mirror.
test-deb: packages
	./scripts/packages binutils xz-utils iproute2 adduser init-system-helpers debootstrap systemd-container
	./scripts/test-deb
	./scripts/test-unit

packages:
	@./scripts/packages gcc libc6-dev ca-certificates
