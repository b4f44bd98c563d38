#!/usr/bin/env bash
# Runs every fuzz target for a while, from the committed corpora; new inputs stay out of the sources.
#
#   bash .ci/run-fuzz.sh [SECONDS]        for each target, 30 unless given
#   SEED=1 bash .ci/run-fuzz.sh           always the same way, from the committed corpora alone
#   SEED=1 RUNS=20000 bash .ci/run-fuzz.sh  that many inputs of each target at most, for a gate that finds the same
#                                         twice
#   bash .ci/run-fuzz.sh install          cargo-fuzz alone
#   TARGETS='url token' bash .ci/run-fuzz.sh 3600
#
# Installs cargo-fuzz when it is missing. JOBS targets run at a time. Exit status 1 on a finding, whose input is
# then under fuzz/artifacts.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
seconds=${1:-30}
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
export CARGO_TARGET_DIR
found=$CARGO_TARGET_DIR/found
mkdir -p "$found"

command -v cargo-fuzz >/dev/null || cargo install --locked --debug cargo-fuzz --version 0.13.2 || exit 2
[ "$seconds" != install ] || exit 0
cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null || exit 2
cargo fuzz build -s none || exit 2

one() { # target
  [ -z "${SEED:-}" ] || rm -rf "${found:?}/$1"
  mkdir -p "$found/$1"
  cargo fuzz run -s none "$1" "$found/$1" "fuzz/corpus/$1" -- \
    -max_total_time="$seconds" ${SEED:+-seed="$SEED"} ${RUNS:+-runs="$RUNS"} >"$found/$1.log" 2>&1
  local status=$?
  echo "$1: $(grep -E '^Done ' "$found/$1.log" || { grep -m 1 -A 1 panicked "$found/$1.log" || tail -n 3 "$found/$1.log"; })"
  return $status
}
export -f one
export found seconds

targets=${TARGETS:-$(find fuzz/fuzz_targets -name '*.rs' -printf '%f\n' | sed 's/\.rs$//' | sort)}
# shellcheck disable=SC2086
printf '%s\n' $targets |
  xargs -P "${JOBS:-2}" -I {} bash -c 'one {}'
