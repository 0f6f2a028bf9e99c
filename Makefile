# Everything a developer runs. `make` alone lists the targets.
# Cargo's own variables hold: CARGO_TARGET_DIR moves the build, for example.
.DEFAULT_GOAL := help
.PHONY: help build quickstart test lint fmt clippy deny doc

# One selection of packages everywhere: another one would have other features and compile again.
WORKSPACE := --workspace --locked

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build gatewright and the quickstart
	cargo build $(WORKSPACE) --bins

quickstart: build ## Gatewright behind a real Envoy on free ports; ONCE=1 ends after the table
	@cargo run --quiet --locked --bin quickstart -- $(if $(ONCE),--once)

test: build ## every test; installs Envoy, oidc-provider and the cq client into the cache on first use
	tests/tools/install envoy
	tests/tools/install oidc-provider
	tests/tools/install cq-sdk
	cargo test $(WORKSPACE)

lint: fmt clippy deny ## formatting, clippy, dependencies

fmt: ## formatting (cargo fmt corrects it)
	cargo fmt --all --check

clippy: ## clippy, warnings are errors
	cargo clippy $(WORKSPACE) --all-targets -- -D warnings

deny: ## licences, sources and duplicates of the dependencies; builds cargo-deny on first use
	"$$(tests/tools/install cargo-deny)" --locked check bans licenses sources

# Bare URLs are allowed: the comments on API fields are what `kubectl explain` prints, where <…> would be noise.
doc: ## the crates' documentation, warnings are errors
	RUSTDOCFLAGS="-Dwarnings -Arustdoc::bare_urls" cargo doc $(WORKSPACE) --no-deps
