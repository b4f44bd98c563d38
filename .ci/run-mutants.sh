#!/usr/bin/env bash
# Mutation testing of the core, all mutants in one program (.ci/mutants).
#
#   bash .ci/run-mutants.sh                          all; survivors must be excused in .ci/mutants/excused.txt
#   bash .ci/run-mutants.sh --change [BASE]          the changes since a commit, HEAD~1 unless given
#   bash .ci/run-mutants.sh --file src/issuer/at.rs  or any other choice that cargo mutants --list takes
#   bash .ci/run-mutants.sh --left-out               after one of these: the mutants that it left out, a build for each
#
# Installs cargo-mutants when it is missing. Exit status 1 when a mutant survives; with --left-out that of cargo-mutants.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
command -v cargo-mutants >/dev/null || cargo install --locked cargo-mutants --version 27.1.0 || exit 2
if [ "${1-}" = --left-out ]; then
  [ -f "$target/mutants/log" ] || { echo "nothing was run before" >&2; exit 2; }
  names=$(sed -n 's/^left out //p' "$target/mutants/log" | sed 's/[][\\.*^$()+?{}|]/\\&/g; s/.*/^&$/' | paste -sd '|')
  [ -n "$names" ] || { echo "0 mutants: nothing was left out"; exit 0; }
  exec env -u CARGO_TARGET_DIR cargo mutants --baseline skip --timeout 300 --output "$target/mutants" --re "$names"
fi
rm -f "$target/mutants/log"
if [ "${1-}" = --change ]; then
  change=$(mktemp) || exit 2
  trap 'rm -f "$change"' EXIT
  git diff "${2-HEAD~1}" -- src >"$change" || exit 2
  [ -s "$change" ] || { echo "0 mutants: nothing in src differs"; exit 0; }
  set -- --in-diff "$change"
fi
cargo build --release --locked --manifest-path .ci/mutants/Cargo.toml --target-dir "$target/mutants" || exit 2
CARGO_TARGET_DIR=$target/mutated "$target/mutants/release/mutants" . "$@" | tee "$target/mutants/log"
