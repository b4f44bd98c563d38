#!/usr/bin/env bash
# The pages of the command, the gateway example and the proxy example in a real browser, headless Chromium:
# headers, cookies, no script from data, no frame around them, whole sign-ins.
#
#   run-browser.sh <mcp-auth binary> <example gateway> <example upstream_proxy>
#
# Uses the Chromium at $CHROMIUM; otherwise the one of Debian, which is installed when it is not there.
# Installs puppeteer-core from npm into CONF_CACHE (default ${TMPDIR:-/tmp}/mcp-conformance-cache).
set -eu -o pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${CONF_CACHE:-${TMPDIR:-/tmp}/mcp-conformance-cache}
PUPPETEER=25.16.0

CHROMIUM=${CHROMIUM:-$(command -v chromium || true)}
if [ -z "$CHROMIUM" ]; then
  apt-get update -q && apt-get install -q -y --no-install-recommends chromium ||
    { echo "browser: Debian's package chromium cannot be installed; set CHROMIUM to a Chromium" >&2; exit 1; }
  CHROMIUM=$(command -v chromium)
fi
export CHROMIUM
"$CHROMIUM" --version 2>/dev/null || { echo "browser: $CHROMIUM does not start" >&2; exit 1; }

npm_into() { # folder, package@version
  mkdir -p "$1"
  [ -f "$1/package.json" ] || printf '{"private":true}\n' >"$1/package.json"
  (cd "$1" && npm install --no-audit --no-fund --loglevel=error "$2") >"$1/npm.log" 2>&1 ||
    { cat "$1/npm.log" >&2; return 1; }
}

node=$(command -v node || true)
major=$([ -n "$node" ] && "$node" -p 'process.versions.node.split(".")[0]' || echo 0)
if [ "$major" -lt 22 ]; then
  node=$cache/node22/node_modules/node/bin/node
  [ -x "$node" ] || npm_into "$cache/node22" node@22
fi
folder=$cache/browser-$PUPPETEER
[ -d "$folder/node_modules/puppeteer-core" ] || npm_into "$folder" "puppeteer-core@$PUPPETEER"

# An import is resolved from where the file is.
cp "$here/crates/cli/tests/npm/browser.mjs" "$folder/browser.mjs"
exec timeout -k 5 180 "$node" "$folder/browser.mjs" "$@"
