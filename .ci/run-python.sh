#!/usr/bin/env bash
# The command `mcp-auth` against servers of the Python world (the MCP SDK 1 and 2, FastMCP 2 and 4) with
# their own authorization servers; the clients of the MCP SDK against servers behind our layer; and the clients of
# the Python and the TypeScript SDK, directly and through the bridge, at servers of both and at the built-in one.
#
#   run-python.sh [arguments of the test binary]
#
# Installs from PyPI and npm into CONF_CACHE (default ${TMPDIR:-/tmp}/mcp-conformance-cache). Without Python
# 3.10 or newer it says so loudly and passes, but never under CI=true.
set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache=${CONF_CACHE:-${TMPDIR:-/tmp}/mcp-conformance-cache}
UPSTREAM=9.3.0
SDK=1.32.2

if ! python3 -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
  echo "SKIPPED: THE PYTHON SERVERS NEED PYTHON 3.10 WITH venv" >&2
  [ "${CI:-}" != true ]
  exit
fi

npm_into() { # folder, package@version
  mkdir -p "$1"
  [ -f "$1/package.json" ] || printf '{"private":true}\n' >"$1/package.json"
  (cd "$1" && npm install --no-audit --no-fund --loglevel=error "$2") >"$1/npm.log" 2>&1 ||
    { cat "$1/npm.log" >&2; return 1; }
}

# A folder for each list of packages: what is there is complete.
packages() { # generation
  local list=crates/cli/tests/python/requirements-$1.txt folder
  folder=$cache/python-$1-$(sha256sum "$list" | cut -c1-16)
  if [ ! -e "$folder/complete" ]; then
    rm -rf "$folder"
    python3 -m venv "$folder"
    "$folder/bin/pip" install -q --no-deps -r "$list" >"$folder/pip.log" 2>&1 ||
      { cat "$folder/pip.log" >&2; return 1; }
    touch "$folder/complete"
  fi
  echo "$folder/bin/python"
}

MCP_AUTH_TEST_PYTHON_1=$(packages 1)
MCP_AUTH_TEST_PYTHON_2=$(packages 2)
node=$(command -v node || true)
major=$([ -n "$node" ] && "$node" -p 'process.versions.node.split(".")[0]' || echo 0)
if [ "$major" -lt 22 ]; then
  node=$cache/node22/node_modules/node/bin/node
  [ -x "$node" ] || npm_into "$cache/node22" node@22
fi
MCP_AUTH_TEST_NODE=$node
folder=$cache/oauth2-mock-server-$UPSTREAM
[ -d "$folder/node_modules/oauth2-mock-server" ] || npm_into "$folder" "oauth2-mock-server@$UPSTREAM"
MCP_AUTH_TEST_UPSTREAM=$folder/node_modules/oauth2-mock-server/dist/oauth2-mock-server.mjs
sdk=$cache/sdk-$SDK
[ -d "$sdk/node_modules/@modelcontextprotocol/sdk" ] || npm_into "$sdk" "@modelcontextprotocol/sdk@$SDK"
# An import is resolved from where the file is.
cp crates/cli/tests/npm/server.mjs crates/cli/tests/npm/suite.mjs "$sdk/"
export MCP_AUTH_TEST_SERVER=$sdk/server.mjs MCP_AUTH_TEST_SUITE=$sdk/suite.mjs
export MCP_AUTH_TEST_PYTHON_1 MCP_AUTH_TEST_PYTHON_2 MCP_AUTH_TEST_NODE MCP_AUTH_TEST_UPSTREAM
# Built already where the tests were built with the same features.
cargo build -q --workspace --all-features --example protected_server
cargo test --workspace --all-features --test provider -- --ignored python "$@"
