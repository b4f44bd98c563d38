#!/usr/bin/env bash
# Chromium without a window: ends when the last page is there, which it writes to the file $PAGE.
#
#   chromium.sh URL
set -eu
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
timeout -k 5 120 chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
  --disable-background-networking --disable-component-update --user-data-dir="$profile" \
  --dump-dom "$1" >"$PAGE.new" 2>"$PAGE.messages"
mv "$PAGE.new" "$PAGE"
