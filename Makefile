# What one does with Cableway from a clone. Namespaces need root: where you are not, sudo is used
# for what is run, never for what is built.

export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

CARGO ?= cargo
ROOT := $(if $(filter 0,$(shell id -u)),,sudo -E)
CABLEWAY := target/release/cableway

.PHONY: demo matrix test check soak loom policies flood bench compare interop setup

# Two nodes, each a daemon of ours, and what was measured between their pods.
demo: setup
	$(CARGO) build --release --bin cableway
	$(ROOT) $(CABLEWAY) lab demo --io tun; tun=$$?; \
	$(ROOT) $(CABLEWAY) lab demo --io af_xdp && exit $$tun

# The same with every tunnel, over both families, with TUN and AF_XDP pods: what failed is said at the end.
matrix: setup
	$(CARGO) build --release --bin cableway
	@failed=; \
	for encap in vxlan ipip udp geneve direct; do for underlay in v4 v6; do for io in tun af_xdp; do \
		how="--encap $$encap --underlay $$underlay --io $$io"; \
		$(ROOT) $(CABLEWAY) lab demo $$how || failed="$$failed\n  $$how"; \
	done; done; done; \
	if [ -n "$$failed" ]; then printf "failed:$$failed\n" >&2; exit 1; fi

# Everything that can fail: tests, as root those in namespaces too, each bench once, fuzz targets.
test: setup check loom
	@./setup.sh compare
	$(AS_ROOT) $(CARGO) test --workspace --no-fail-fast
	$(AS_ROOT) $(CARGO) test --workspace --bench '*'
	$(CARGO) build --manifest-path fuzz/Cargo.toml

# What a reviewer should not have to say.
check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items

# What workers share, in every order that two cores may see it in.
loom:
	CARGO_TARGET_DIR=target/loom RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 \
		$(CARGO) test -p pipeline --lib loom

# Random policies and a million packets, judged as the model's words say.
policies:
	PROPTEST_CASES=25000 $(CARGO) test -p pipeline --lib acl::tests::random

# Random changes, kills and upgrades of two nodes under traffic, and what they leave behind: one page.
MINUTES ?= 60
soak: setup
	MINUTES=$(MINUTES) $(AS_ROOT) $(CARGO) test --release --test soak -- --ignored --nocapture

# What a connection keeps beside floods of first packets, denied and allowed, and of datagrams.
flood: setup
	@./setup.sh compare
	$(AS_ROOT) $(CARGO) test --release --test daemon_flood -- --ignored --nocapture

# What packets take in memory, then micro-benchmarks of bytes, tables, frames and stages.
bench: setup
	$(CARGO) build --release --bin cableway
	$(CABLEWAY) bench pipeline
	$(CARGO) bench --workspace

# Against the kernel's tunnels and Open vSwitch, in turn: a page.
compare: setup
	@./setup.sh compare
	$(CARGO) build --release --bin cableway
	$(ROOT) $(CABLEWAY) bench compare --quick --html target/compare.html --json target/compare.json

# With a guest kernel's tunnels: docs/interop.md.
interop: setup
	@./setup.sh interop
	$(AS_ROOT) $(CARGO) test --test interop -- --ignored --nocapture

setup:
	@./setup.sh

# Test programs are run as root where we are not: the variable is cargo's, for this host's target.
HOST := rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_
AS_ROOT := $(if $(ROOT),env CARGO_TARGET_$$($(HOST))_RUNNER="$(ROOT)")
