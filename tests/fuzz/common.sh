# What both scripts beside it share. They run in this folder.

place=$(cd "$root" && realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
host=$(rustc -vV | sed -n "s/^host: //p")
binaries=$place/$host/release

# One slow input is a finding; so is one that takes much memory. Longer inputs find nothing that shorter ones do not.
options=(-timeout=20 -rss_limit_mb=2048 -max_len=8192)

# Without a sanitizer: our code holds no `unsafe`, and so stable Rust builds this.
build() {
  cargo metadata --locked --format-version 1 --manifest-path Cargo.toml >/dev/null
  CARGO_TARGET_DIR=$place "$("$root/tests/tools/install" cargo-fuzz)" build --fuzz-dir . --sanitizer none --target "$host"
}

targets() {
  sed -n 's/^path = "targets\/\(.*\)\.rs"/\1/p' Cargo.toml
}

dictionary() {
  [[ -f dictionaries/$1 ]] && printf -- '-dict=dictionaries/%s' "$1"
  return 0
}
