# What a person types; `make help` lists it. Each target is one command or two, so that they can be typed as well.

.DEFAULT_GOAL := help
.PHONY: help setup demo stack test test-long simulate bench check fmt sqlx clean-cache

# Flags for `stack`, as in `make demo FLAGS="--gateways 2"`.
FLAGS ?=
# Names of measurements and flags for `bench`.
BENCH ?=
# Seeds for `simulate`.
SEEDS ?= 3000

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | \
		while IFS='|' read -r target text; do printf '%-18s %s\n' "$$target" "$$text"; done

setup: ## installs what is missing: Postgres, Redis, compilers (quick when nothing is)
	@sh tests/stack/setup.sh

demo: setup ## an on-sale with a crowd; Ctrl-C or DEMO_FOR=seconds ends it with an audit
	cargo build --release --workspace --bins
	@exec env STACK_NO_BUILD=1 target/release/stack demo $(FLAGS)

stack: setup ## everything on free ports without a crowd, until Ctrl-C
	cargo build --workspace --bins
	@exec env STACK_NO_BUILD=1 target/debug/stack up $(FLAGS)

test: setup ## every test
	cargo build --workspace --bins
	STACK_NO_BUILD=1 cargo test --workspace

test-long: setup ## the tests that take long, too
	cargo build --workspace --bins
	STACK_NO_BUILD=1 cargo test --workspace -- --include-ignored

simulate: ## SEEDS=3000 whole sales in simulated time, with all that can go wrong
	SIM_SEEDS=$(SEEDS) cargo test --release -p gateway --test simulation -- --nocapture whole_sales

bench: ## measurements, peers beside ours; BENCH="NAME... --quick" for some, or a look
	@sh tests/stack/setup.sh bench
	cargo build --release -p gateway -p booking -p stack -p bench
	@exec env STACK_NO_BUILD=1 RUST_LOG=warn target/release/bench $(BENCH)

profile-holds: ## where the time of a hold goes in node and Postgres, by perf (docs/HOLDS.md)
	@sh tests/stack/setup.sh bench
	cargo build --release -p gateway -p booking -p stack -p bench
	@exec env STACK_NO_BUILD=1 RUST_LOG=warn target/release/bench profile-holds

check: setup ## formatting, lints as errors, dependencies, paths named in documents
	@sh tests/stack/setup.sh tools
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	PATH="$(CURDIR)/target/tools/bin:$$PATH" cargo deny --locked check bans licenses sources
	cargo test --locked --workspace --test tidy

fmt: ## formats all of it
	cargo fmt --all

sqlx: setup ## renews the checked queries of the booking core after a change of SQL
	sh booking/prepare-queries.sh

clean-cache: ## forgets the prepared databases
	rm -rf target/stack-cache
