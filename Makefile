# Each target installs what it needs on a bare Debian 12 with Rust, a C compiler and make. One target folder and the same
# flags for all of them; only fuzz and bench build with optimisation, in folders of their own.

CARGO ?= cargo
FUZZ_SECONDS ?= 20

.PHONY: help demo test test-vm torture soak check deb bench peers world fuzz fmt clean-world

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the main job with no hardware and no server: two servers, a simulated Uno, the real avrdude, one proven update
	tests/peers/install.sh demo
	$(CARGO) build --locked --bins -p nuncio -p testbed
	$(CARGO) run --locked --quiet -p testbed --bin demo

test: peers world ## all tests; gets the foreign servers and tools that they need
	tests/run.py

test-vm: ## USB boards under the real kernel drivers, in a virtual machine; not part of `make test`. CASES="plugged hub::" for some
	tests/peers/install.sh leshan vm deb
	tests/vm/build.sh
	$(CARGO) build --locked --bins -p nuncio -p vm
	$(CARGO) run --locked --quiet -p vm -- $(CASES)

torture: peers world ## kills daemon, tool and link 600 times in the middle of flashes; KILLS=100 each, AT_ONCE=8, TORTURE="tool=esptool victim=link step=flashing case=17"
	$(CARGO) build --locked --bins -p nuncio -p world
	$(CARGO) run --locked --quiet -p world --bin torture

soak: ## two hours of the release build with 200 devices that come and go and an update a minute; MINUTES=120 DEVICES=200 SEED=1, what is seen lies in FOLDER=target/soak
	tests/peers/install.sh avr lan leshan mqtt
	tests/world/build.sh avr
	$(CARGO) build --locked --release -p nuncio
	$(CARGO) run --locked --quiet -p world --bin soak

check: ## formatting, lints, licences, documentation
	tests/peers/install.sh deny
	$(CARGO) fmt --all --check
	$(CARGO) fmt --all --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	"$${NUNCIO_CACHE:-.cache}/peers/cargo-deny/bin/cargo-deny" --log-level warn check bans licenses sources
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --quiet

deb: ## Debian packages of the release build for amd64, arm64 and armhf, in target/debian; ARCHS="armhf" for some
	tests/peers/install.sh deb cross
	packaging/deb.sh $(ARCHS)
	packaging/try.sh $(ARCHS)

bench: ## the figures of docs/BENCHMARKS.md, of the release build; FIGURES="read push" for some of them
	tests/peers/install.sh avr disaster
	tests/world/build.sh avr
	$(CARGO) build --locked --release -p nuncio
	$(CARGO) run --locked --release --manifest-path benches/Cargo.toml -- $(FIGURES)

peers: ## the foreign programs that tests need: avrdude, esptool 4 and 5, Leshan, lwm2m-node-lib
	tests/peers/install.sh all

world: peers ## the simulated boards and their firmware, and the Debian that the package is installed into
	tests/world/build.sh all
	tests/packages/build.sh

fuzz: ## each fuzz target for FUZZ_SECONDS (20), from its committed seeds
	fuzz/run.sh $(FUZZ_SECONDS)

fmt: ## formats everything
	$(CARGO) fmt --all
	$(CARGO) fmt --all --manifest-path fuzz/Cargo.toml

clean-world: ## forgets what peers and world have fetched and built
	rm -rf .cache
