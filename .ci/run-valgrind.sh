#!/usr/bin/env bash
# Checks under valgrind: secrets are compared in constant time (memcheck), and costs grow no faster than the input
# (callgrind).
#
#   bash .ci/run-valgrind.sh                   both
#   bash .ci/run-valgrind.sh constant-time     or growth
#
# Prints a line for each check: name, figures, verdict. Exit status 1 when a check fails or a control is not
# caught. Installs valgrind when it is missing. Logs stay in $CARGO_TARGET_DIR/valgrind/logs.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")/valgrind
export CARGO_TARGET_DIR
logs=$CARGO_TARGET_DIR/logs
programs=$CARGO_TARGET_DIR/release
mkdir -p "$logs" || exit 2

[ $# -gt 0 ] || set -- constant-time growth
for wanted in "$@"; do
  case $wanted in
    constant-time | growth) ;;
    *) echo "valgrind: no such check: $wanted"; exit 2 ;;
  esac
done

# The headers come with the program; without one of them nothing can be built.
if ! command -v valgrind >/dev/null || ! echo '#include <valgrind/memcheck.h>' | cc -E - >/dev/null 2>&1; then
  { apt-get update && apt-get install -y valgrind; } >"$logs/install.log" 2>&1 || { cat "$logs/install.log"; exit 2; }
fi
(cd tests/valgrind && cargo build --release --locked) >"$logs/build.log" 2>&1 || { tail -n 60 "$logs/build.log"; exit 2; }

constant_time() {
  valgrind --tool=memcheck --leak-check=no --num-callers=20 --log-file="$logs/memcheck.log" \
    "$programs/constant_time"
}
growth() {
  local parts=$logs/callgrind.out
  rm -f "$parts"
  valgrind --tool=callgrind --collect-atstart=no --combine-dumps=yes --callgrind-out-file="$parts" \
    --log-file="$logs/callgrind.log" "$programs/growth" && "$programs/growth" "$parts"
}

failed=0
for wanted in "$@"; do
  from=$SECONDS
  "${wanted//-/_}" || failed=1
  echo "$wanted: $((SECONDS - from)) s"
done
exit $failed
