#!/usr/bin/env bash
# The command `mcp-auth` against a certified OpenID provider (`oidc-provider`), with curl and, where it
# is installed, headless Chromium as the browser. MCP_AUTH_TEST_CHROMIUM=1 demands Chromium.
#
#   run-provider.sh [arguments of the test binary]
#
# Installs from npm into CONF_CACHE (default ${TMPDIR:-/tmp}/mcp-conformance-cache).
set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache=${CONF_CACHE:-${TMPDIR:-/tmp}/mcp-conformance-cache}
PROVIDER=9.13.3

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
folder=$cache/provider-$PROVIDER
[ -d "$folder/node_modules/oidc-provider" ] || npm_into "$folder" "oidc-provider@$PROVIDER"

# An import is resolved from where the file is.
cp crates/cli/tests/npm/provider.mjs "$folder/provider.mjs"
export MCP_AUTH_TEST_NODE=$node MCP_AUTH_TEST_PROVIDER=$folder/provider.mjs
# With the features of the other steps of the gate: nothing is compiled again.
cargo test --workspace --all-features --test provider -- --ignored --skip python "$@"
