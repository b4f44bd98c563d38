#!/usr/bin/env bash
# The second model: the protocol in Promela, searched by spin. The sound model must hold to the end of the
# search and reach every place that it names; each planted bug must violate the property named beside it.
# JOBS: how many checks at a time.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
command -v spin >/dev/null || { apt-get update && apt-get install -y spin gcc; } >/dev/null || exit 2
models=$PWD/tests/model
work=${CARGO_TARGET_DIR:-target}/model
rm -rf "$work" && mkdir -p "$work" || exit 2
work=$(realpath "$work")
jobs=${JOBS:-2} running=0 failed=0

figures() {
  awk '/states, stored/ {s=$1} /transitions \(/ {t=$1} /depth reached/ {sub(",", "", $6); d=$6}
    END {if (s) print s " states, " t " transitions, depth " d}' out 2>/dev/null
}

# name, expected result (`holds`, or the violated property), model, arguments of spin, of gcc, of pan
one() {
  local name=$1 wanted=$2 model=$3 flags=$4 compile=$5 run=$6 verdict=ok found from=$SECONDS
  mkdir -p "$work/$name" && cd "$work/$name" || exit 2
  # shellcheck disable=SC2086
  spin -a $flags "$models/$model.pml" >spin.log 2>&1 &&
    gcc -O1 -w $compile -DCOLLAPSE -DMEMLIM=1500 -o pan pan.c >gcc.log 2>&1 &&
    timeout 120 ./pan -m20000 $run >out 2>&1 </dev/null
  found=$(grep -m1 -oE '^pan:1: (assertion violated .*|acceptance cycle|invalid end state)|max search depth too small|reached -DMEMLIM bound|out of memory|invalid array index' out 2>/dev/null)
  found=${found#pan:1: }
  if [ "$wanted" = holds ]; then
    { [ -z "$found" ] && grep -qs 'errors: 0$' out && ! grep -q 'Search not completed' out; } || verdict=FAIL
    [ -n "$found" ] || found=$(figures)
  else
    [[ $found == "assertion violated ${wanted}_"* ]] || verdict=FAIL found="wanted $wanted: ${found:-$(figures)}"
  fi
  printf '%-22s %-4s %4ss  %s\n' "$name" "$verdict" $((SECONDS - from)) "${found:-no verdict}"
  rm -f pan pan.*
  [ "$verdict" = ok ]
}

ended() {
  wait -n || failed=1
  running=$((running - 1))
}

check() {
  [ "$running" -lt "$jobs" ] || ended
  one "$@" &
  running=$((running + 1))
}

# Every place that a model names, from the output of its searches.
places() {
  local model=$1 place
  shift
  while read -r place; do
    (cd "$work" && grep -qsxF "reached: $place" "$@") || { printf '%-22s FAIL        not reached: %s\n' "$model" "$place"; failed=1; }
  done < <(grep -ohE 'REACHED\("[^"]+"\)' "$models/$model"*.pml | cut -d'"' -f2 | sort -u)
}

safety='-DSAFETY -DNOREDUCE'
pair='-DSTARTS=2'
alone='-DSTARTS=4 -DPROCESSES=1'
bug() { check "$1" "$2" "${4:-issuers}" "${3:-$pair} -D$1" "$safety" ''; }

check "alone" holds issuers "$alone -DWITNESS" "$safety" ''
check "pair" holds issuers "$pair -DWITNESS" "$safety" ''
check "heal, issuers" holds issuers '-DSTARTS=1 -DHEAL' '-DNOREDUCE' '-a -f'
check "heal, renewal" holds renewal '' '-DNOREDUCE' '-a -f'
check "renewal" holds renewal '-DWITNESS' "$safety" ''

bug K01 S17; bug K02 S01; bug K03 S01; bug K04 S01; bug K05 S16; bug K06 S04; bug K07 S07
bug K08 S07; bug K09 S07; bug K10 L04; bug K11 S01; bug K12 S07; bug K13 S01; bug K18 S05
bug K19 S17; bug K20 S01; bug K21 S32; bug K22 S16; bug K23 S12; bug X34 S34
# The same bugs, detected by the harm that they cause.
for harm in K01:S01 K05:S04 K07:S01 K08:S01 K09:S01 K12:S01 K22:L04; do
  check "${harm%:*}, harm" "${harm#*:}" issuers "$pair -DLATE -D${harm%:*}" "$safety" ''
done
check "K06, renewal" S19 renewal '-DK06' "$safety" ''
check "K16" S20 renewal '-DK16' "$safety" ''
check "K17" S30 renewal '-DK17' "$safety" ''
check "no lease" S19 renewal '-DNOLEASE' "$safety" ''
check "declared residual" S01 issuers "$pair -DLATE -DRESIDUAL" "$safety" ''

while [ "$running" -gt 0 ]; do ended; done
places issuers pair/out alone/out
places renewal renewal/out
exit "$failed"
