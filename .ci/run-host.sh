#!/usr/bin/env bash
# The example of a host (examples/host) and its three tests: snapshot, driver contract, fuzz target.
#
#   run-host.sh              the first two, and the third is checked
#   run-host.sh SECONDS      the fuzz target is built, and runs so long besides
#
# Exit status 1 when one fails.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../examples/host" || exit 2
target=$(realpath -m "${CARGO_TARGET_DIR:-../../target}")
# With the dependencies of the other steps, as far as their features are the same.
CARGO_TARGET_DIR=$target cargo test --locked --workspace --exclude example-host-fuzz || exit 1
if [ -z "${1:-}" ]; then
  CARGO_TARGET_DIR=$target cargo check --locked --workspace || exit 1
else
  export CARGO_TARGET_DIR=$target/fuzz
  command -v cargo-fuzz >/dev/null || cargo install --locked --debug cargo-fuzz --version 0.13.2 || exit 2
  corpus=$target/fuzz/found/example-host
  mkdir -p "$corpus" && cargo fuzz run -s none history "$corpus" -- -max_total_time="$1" || exit 1
fi
echo "host: ok"
