# The image of Gatewright: one binary on distroless, as a user that is not root.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --sbom=true --provenance=mode=max -t REPOSITORY:TAG .
#
# Reproducible: the toolchain and Cargo.lock are pinned, sources are not stamped, and SOURCE_DATE_EPOCH (buildx passes it on)
# sets every time in the layers. Pin both base images by digest in a release: --build-arg RUST=rust@sha256:… RUNTIME=…@sha256:….
# The SBOM of the binary's crates is made beside the one of the image: cargo auditable writes it into the binary, where
# scanners (trivy, grype, syft) find it.
ARG RUST=docker.io/library/rust:1.95.0-bookworm
ARG RUNTIME=gcr.io/distroless/cc-debian12:nonroot

# On the builder's own architecture: cross-compiling is many times faster than emulating.
FROM --platform=$BUILDPLATFORM ${RUST} AS build
ARG TARGETARCH
# aws-lc needs a C compiler for the target, and cmake.
RUN apt-get update \
 && apt-get install -y --no-install-recommends cmake clang \
      $([ "$TARGETARCH" = "$(dpkg --print-architecture)" ] || echo "crossbuild-essential-$TARGETARCH") \
 && rm -rf /var/lib/apt/lists/*
RUN cargo install --locked cargo-auditable --version 0.7.7
WORKDIR /source
COPY rust-toolchain.toml Cargo.toml Cargo.lock ./
COPY crds crds
COPY authz authz
COPY operator operator
COPY gatewright gatewright
# No code of these two is built; the workspace names them.
COPY tests tests
COPY bench bench
ENV CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc
# Paths of the builder would tell two builds apart.
ENV RUSTFLAGS="--remap-path-prefix=/source=/gatewright --remap-path-prefix=/usr/local/cargo=/cargo"
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/target,id=target-$TARGETARCH \
    case "$TARGETARCH" in \
      amd64) target=x86_64-unknown-linux-gnu;; \
      arm64) target=aarch64-unknown-linux-gnu;; \
      *) echo "no target for TARGETARCH=$TARGETARCH; build with BuildKit, for linux/amd64 or linux/arm64" >&2; exit 1;; \
    esac \
 && rustup target add "$target" \
 && CARGO_TARGET_DIR=/target cargo auditable build --release --locked -p gatewright --target "$target" \
 && install -D "/target/$target/release/gatewright" /out/gatewright

FROM ${RUNTIME}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="gatewright" \
      org.opencontainers.image.description="Decides for Envoy which requests may pass" \
      org.opencontainers.image.url="https://gatewright.dev" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/gatewright /gatewright
# The numeric form, so that Kubernetes can see that it is not root.
USER 65532:65532
# Envoy asks 9001; health and metrics are on 9003; the operator's channel is 9004.
EXPOSE 9001 9003 9004
ENTRYPOINT ["/gatewright"]
