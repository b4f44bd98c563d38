#!/usr/bin/env bash
# The public API as text, to be reviewed as a diff: docs/public-api.txt is the core, docs/public-api-client.txt and
# docs/public-api-server.txt are the crates beside it, with all features.
#
#   run-api.sh            generates them; exit status 1 and the difference when they differ
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

# With the features of the other steps, so that what they compiled is used.
for crate in mcp_auth_machine mcp_auth_client mcp_auth_server; do
  # Cargo does not track these files, and would treat old ones as fresh.
  rm -rf "$target/doc/$crate" "$target/doc/$crate.json"
done
RUSTDOC=$work/rustdoc RUSTDOCFLAGS="-Z unstable-options --output-format json" \
  cargo doc --locked --workspace --no-deps --all-features --lib || exit 2
listing() { "$target/public-api/debug/public-api-listing" "$target/doc/$1.json"; }
listing mcp_auth_machine >"$work/public-api.txt" || exit 2
for crate in client server; do
  listing "mcp_auth_$crate" >"$work/public-api-$crate.txt" || exit 2
done

status=0
for list in public-api.txt public-api-client.txt public-api-server.txt; do
  if [ "$accept" ]; then
    cp "$work/$list" "docs/$list" || exit 2
  else
    diff -u --label "docs/$list" --label now "docs/$list" "$work/$list" || status=1
  fi
done
[ $status -eq 0 ] || { echo "api: differs; if that is meant: .ci/run-api.sh --accept" >&2; exit 1; }
echo "api: ok, $(cat docs/public-api*.txt | wc -l) lines"
