#!/usr/bin/env bash
# The public API as text, to be reviewed as a diff: docs/public-api.txt with the default features,
# docs/public-api-features.txt what the other features add.
#
#   run-api.sh            makes both anew; exit status 1 and the difference when they differ
#   run-api.sh --accept   writes them
#
# The format of rustdoc's JSON is unstable: another Rust may need another version in .ci/public-api/Cargo.toml.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
case ${1-} in '' | --accept) accept=${1-} ;; *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;; esac
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT

CARGO_PROFILE_DEV_DEBUG=0 cargo build --locked --manifest-path .ci/public-api/Cargo.toml --target-dir "$target/public-api" || exit 2

# For rustdoc alone: in the environment of cargo it would have dependencies compiled again.
printf '#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec "%s" "$@"\n' "${RUSTDOC:-rustdoc}" >"$work/rustdoc"
chmod +x "$work/rustdoc"

listing() { # cargo arguments
  # Cargo does not know this file, and takes that of other features for fresh.
  rm -rf "$target/doc/mcp_auth_machine" "$target/doc/mcp_auth_machine.json"
  RUSTDOC=$work/rustdoc cargo rustdoc --locked --lib "$@" -- -Z unstable-options --output-format json &&
    "$target/public-api/debug/public-api-listing" "$target/doc/mcp_auth_machine.json"
}

listing >"$work/public-api.txt" || exit 2
listing --all-features >"$work/all" || exit 2
grep -vxFf "$work/public-api.txt" "$work/all" >"$work/public-api-features.txt"

status=0
if lost=$(grep -vxFf "$work/all" "$work/public-api.txt"); then
  printf 'api: not there any more with all features:\n%s\n' "$lost" >&2
  status=1
fi
for list in public-api.txt public-api-features.txt; do
  if [ "$accept" ]; then
    cp "$work/$list" "docs/$list" || exit 2
  else
    diff -u --label "docs/$list" --label now "docs/$list" "$work/$list" || status=1
  fi
done
[ $status -eq 0 ] || { echo "api: differs; if that is meant: .ci/run-api.sh --accept" >&2; exit 1; }
echo "api: ok, $(cat docs/public-api.txt docs/public-api-features.txt | wc -l) lines"
