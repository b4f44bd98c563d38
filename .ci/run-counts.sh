#!/usr/bin/env bash
# Instructions of the core's scenarios (benches/counts.rs) as callgrind counts them, beside the figures in
# benches/counts.txt.
#
#   bash .ci/run-counts.sh             compares; exit status 1 when one has grown by more than 3 %
#   bash .ci/run-counts.sh --update    writes the figures
#
# A figure is (110 rounds - 10 rounds) / 100, so that the start of the program does not count. Another compiler or
# another C library counts differently: the figures are those of the toolchain that the gate runs with. Installs
# valgrind when it is not there.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
logs=$target/counts
figures=benches/counts.txt
mkdir -p "$logs" || exit 2

command -v valgrind >/dev/null || { apt-get update && apt-get install -y valgrind; } >"$logs/install.log" 2>&1 ||
  { cat "$logs/install.log"; exit 2; }
# The package alone, with the features of the proof: nothing is compiled again for the gate.
program=$(cargo bench --locked --no-run -p mcp-auth-machine --bench counts --message-format json 2>"$logs/build.log" |
  sed -nE 's/.*"executable":"([^"]*counts[^"]*)".*/\1/p' | tail -n 1)
[ -n "$program" ] || { tail -n 60 "$logs/build.log"; exit 2; }

total() { # scenario, rounds
  local out=$logs/$1.$2
  valgrind --tool=callgrind --callgrind-out-file="$out" "$program" "$1" "$2" >"$out.log" 2>&1 ||
    { tail -n 20 "$out.log" >&2; return 1; }
  awk '/^(summary|totals):/ { print $2; exit }' "$out"
}

# One measurement a core: the counts do not depend on the load.
export -f total
export logs program
measured=$("$program" | sed 's/.*/& 10\n& 110/' |
  xargs -P "${JOBS:-2}" -L 1 bash -c 'count=$(total "$1" "$2") && echo "$1.$2 $count"' measure) || exit 2
of() { awk -v key="$1" '$1 == key { print $2 }' <<<"$measured"; }

failed=0 lines=()
for name in $("$program"); do
  few=$(of "$name.10") many=$(of "$name.110")
  [ -n "$few" ] && [ -n "$many" ] || exit 2
  count=$(((many - few) / 100))
  lines+=("$name $count")
  known=$(awk -v name="$name" '$1 == name { print $2 }' "$figures" 2>/dev/null)
  verdict=ok
  if [ "${1:-}" != --update ]; then
    if [ -z "$known" ]; then
      verdict="no figure in $figures" failed=1
    elif [ $((count * 100)) -gt $((known * 103)) ]; then
      verdict="more than 3 % over $known: update $figures in the same change, or mend it" failed=1
    fi
  fi
  printf 'counts: %-16s %9d  %9s  %s\n' "$name" "$count" "${known:--}" "$verdict"
done
[ "${1:-}" != --update ] || printf '%s\n' "${lines[@]}" >"$figures"
exit $failed
