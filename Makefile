# Everything a developer runs. `make` alone lists the targets.
# Cargo's own variables hold: CARGO_TARGET_DIR moves the build, for example.
.DEFAULT_GOAL := help
.PHONY: help build quickstart cluster charts test test-agentflow test-keycloak test-node test-resolver lint fmt clippy deny dockerfile doc fuzz mutants

# One selection of packages everywhere: another one would have other features and compile again.
WORKSPACE := --workspace --locked

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build gatewright and the quickstart
	cargo build $(WORKSPACE) --bins

quickstart: build ## Gatewright behind a real Envoy on free ports; ONCE=1 ends after the table
	@cargo run --quiet --locked --bin quickstart -- $(if $(ONCE),--once)

cluster: build ## the charts, Envoy and an application on a real Kubernetes node of this machine, as root; ONCE=1 ends after the table
	@cargo run --quiet --locked --bin cluster -- $(if $(ONCE),--once)

charts: build ## renew what is generated: definitions, their chart, and the renders of the charts
	GATEWRIGHT_BLESS=1 cargo test --locked -p crds --test crds committed_files_are_current
	GATEWRIGHT_BLESS=1 cargo test --locked -p tests --test cluster -- charts::definitions_are charts::renders_are

test: build ## the tests; installs Envoy, oidc-provider, the cq client, joserfc, redis and Kubernetes into the cache on first use
	tests/tools/install envoy
	tests/tools/install oidc-provider
	tests/tools/install cq-sdk
	tests/tools/install joserfc
	tests/tools/install redis
	tests/tools/install kubernetes
	cargo test $(WORKSPACE)

test-agentflow: build ## AgentFlow itself, alone and behind Gatewright, compared; installs it on first use, needs Python 3.12
	tests/tools/install envoy
	tests/tools/install agentflow
	cargo test $(WORKSPACE) --test agentflow

test-keycloak: build ## introspection, UserInfo and key rotation with a real Keycloak; installs it on first use, needs Java and Maven
	tests/tools/install envoy
	tests/tools/install keycloak
	cargo test $(WORKSPACE) --test keycloak

test-node: build ## the life of an installation on a real node of this machine, as root: changes under load, uninstall
	tests/tools/install envoy
	tests/tools/install oidc-provider
	tests/tools/install node
	cargo test $(WORKSPACE) --test node -- --nocapture

test-resolver: build ## names that fail, hang and move, by the system's own resolver, as root
	tests/tools/install envoy
	cargo test $(WORKSPACE) --test resolver

lint: fmt clippy deny dockerfile ## formatting, clippy, dependencies, the Dockerfile

fmt: ## formatting (cargo fmt corrects it)
	cargo fmt --all --check
	cargo fmt --manifest-path tests/fuzz/Cargo.toml --check

clippy: ## clippy, warnings are errors; the fuzz targets with the cfg that opens what they call
	cargo clippy $(WORKSPACE) --all-targets --test keycloak --test agentflow --test node --test resolver -- -D warnings
	RUSTFLAGS="--cfg fuzzing" cargo clippy --locked --manifest-path tests/fuzz/Cargo.toml --target-dir $${CARGO_TARGET_DIR:-target}/fuzz -- -D warnings

# Each of the two workspaces lacks something that the list allows for the other.
DENY := -A license-exception-not-encountered -A license-not-encountered bans licenses sources
deny: ## licences, sources and duplicates of the dependencies; builds cargo-deny on first use
	"$$(tests/tools/install cargo-deny)" --locked check $(DENY)
	"$$(tests/tools/install cargo-deny)" --locked --manifest-path tests/fuzz/Cargo.toml --config deny.toml check $(DENY)

dockerfile: ## the Dockerfile, read and linted by BuildKit's own parser; builds nothing
	cd tests/tools/dockerfile && go run . ../../../Dockerfile

# Bare URLs are allowed: the comments on API fields are what `kubectl explain` prints, where <…> would be noise.
doc: ## the crates' documentation, warnings are errors
	RUSTDOCFLAGS="-Dwarnings -Arustdoc::bare_urls" cargo doc $(WORKSPACE) --no-deps

SECONDS := 60
fuzz: ## every fuzz target for SECONDS=60 each; TARGETS="token config" runs only those. Builds cargo-fuzz on first use
	tests/fuzz/run $(SECONDS) $(TARGETS)

mutants: ## mutation tests of verifier, router and response builder, for an hour or two; ARGS='--file crds/src/paths/*' runs a part
	"$$(tests/tools/install cargo-mutants)" mutants --package crds --package authz --output $${CARGO_TARGET_DIR:-target} $(ARGS)
