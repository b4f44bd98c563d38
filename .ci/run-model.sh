#!/usr/bin/env bash
# The second model: the protocol in Promela, searched by spin. The sound model must hold to the end of
# the search, each planted bug must break the property named beside it, each witness must be reached.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
command -v spin >/dev/null || { apt-get update && apt-get install -y spin gcc; } >/dev/null || exit 2
models=$PWD/tests/model
work=${CARGO_TARGET_DIR:-target}/model
mkdir -p "$work" || exit 2
work=$(realpath "$work")
failed=0

# name, what must come of it (`holds`, or what falls: a pattern), model, arguments of spin, of gcc, of pan
check() {
  local name=$1 wanted=$2 model=$3 flags=$4 compile=$5 run=$6 folder=$work/$1 verdict=ok found from=$SECONDS
  rm -rf "$folder" && mkdir -p "$folder" && cd "$folder" || exit 2
  # shellcheck disable=SC2086
  spin -a $flags "$models/$model.pml" >spin.log 2>&1 &&
    gcc -O1 -w $compile -DCOLLAPSE -DMEMLIM=3500 -o pan pan.c >gcc.log 2>&1 &&
    timeout 60 ./pan -m200000 $run >out 2>&1 </dev/null
  found=$(grep -m1 -oE '^pan:1: (assertion violated .*|acceptance cycle|invalid end state)|max search depth too small|out of memory|invalid array index' out 2>/dev/null)
  if [ "$wanted" = holds ]; then
    grep -q 'errors: 0' out && [ -z "$found" ] && ! grep -q 'Search not completed' out || verdict=FAIL
  else
    [[ $found =~ $wanted ]] || verdict=FAIL
  fi
  found=${found#pan:1: }
  printf '%-26s %-4s %4ss  %s\n' "$name" "$verdict" $((SECONDS - from)) \
    "${found:-$(awk '/states, stored/ {s=$1} /transitions/ {t=$1} /depth reached/ {d=$5} END {print s " states, " t " transitions, depth " d+0}' out)}"
  [ "$verdict" = ok ] || failed=1
  rm -f pan pan.*
}

safety='-DSAFETY -DNOREDUCE'
pair='-DSTARTS=2'
alone='-DSTARTS=4 -DPROCESSES=1'
bug() { check "$1" "$2" "${4:-issuers}" "${3:-$pair} -D$1" "$safety" ''; }
reached() { check "$1" "$2!=$2" "${3:-issuers}" "$pair -DWITNESS=$2" "$safety" ''; }

check "pair" holds issuers "$pair" "$safety" ''
check "alone" holds issuers "$alone" "$safety" ''
check "renewal" holds renewal '' "$safety" ''
check "heal, renewal" holds renewal '' '-DNOREDUCE' '-a -f'
check "heal, issuers" holds issuers '-DSTARTS=1 -DHEAL' '-DNOREDUCE' '-a -f'

bug K01 S17; bug K02 S01; bug K03 S01; bug K04 S01; bug K05 S16; bug K06 S04; bug K07 S07
bug K08 S07; bug K09 S07; bug K10 L04; bug K11 S01; bug K12 S07; bug K13 S01; bug K18 S05
bug K19 S17; bug K20 S01; bug K21 S32; bug K22 S16; bug K23 S12; bug X34 S34
# The same, seen by the harm.
for harm in K01:S01 K05:S04 K07:S01 K08:S01 K09:S01 K12:S01 K22:L04; do
  check "${harm%:*}, harm" "${harm#*:}" issuers "$pair -DLATE -D${harm%:*}" "$safety" ''
done
check "K06, renewal" S19 renewal '-DK06' "$safety" ''
check "K16" S20 renewal '-DK16' "$safety" ''
check "K17" S30 renewal '-DK17' "$safety" ''
check "no lease" S19 renewal '-DNOLEASE' "$safety" ''
check "declared residual" S01 issuers "$pair -DLATE -DRESIDUAL" "$safety" ''

reached "held at A" 1; reached "held at C" 2; reached "moved" 3; reached "mix-up refused" 4
reached "by another process" 5; reached "take lost" 6; reached "code after a crash" 7
reached "injection refused" 8; reached "bound elsewhere" 10; reached "led away" 11
reached "no PKCE refused" 12; reached "origin refused" 13; reached "save conflict" 14
reached "late answer dropped" 15
reached "other's token used" 1 renewal; reached "lease conflict" 2 renewal
reached "grant ended" 3 renewal; reached "renewed twice" 6 renewal; reached "signed in again" 8 renewal
exit "$failed"
