#!/usr/bin/env bash
# Other people's software against the built-in servers of `mcp-auth demo --serve`:
#
#   run-interop.sh <mcp-auth binary> <example sign> <example protected_server>
#
# - the signatures of the software signer verify with the cryptography of Node;
# - the official TypeScript client signs in, steps up and refreshes, also at rmcp's server behind our layer;
# - the two authorization-server scenarios of the official conformance suite.
#
# Installs from npm into CONF_CACHE (default ${TMPDIR:-/tmp}/mcp-conformance-cache).
set -eu -o pipefail
binary=$1 sign=$2 rmcp=$3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${CONF_CACHE:-${TMPDIR:-/tmp}/mcp-conformance-cache}
CLIENT=2.4.0
CONFORMANCE=0.2.0-alpha.12

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
sdk=$cache/client-$CLIENT
[ -d "$sdk/node_modules/@modelcontextprotocol/client" ] ||
  npm_into "$sdk" "@modelcontextprotocol/client@$CLIENT"
suite=$cache/conformance-$CONFORMANCE
[ -d "$suite/node_modules/@modelcontextprotocol/conformance" ] ||
  npm_into "$suite" "@modelcontextprotocol/conformance@$CONFORMANCE"

"$node" "$here/crates/cli/tests/npm/verify.mjs" "$sign"

work=$(mktemp -d)
"$binary" demo --serve >"$work/servers" &
servers=$!
"$rmcp" >"$work/rmcp" &
rmcp_server=$!
trap 'kill $servers $rmcp_server 2>/dev/null || true; rm -rf "$work"' EXIT
for _ in $(seq 100); do
  grep -q '^serving' "$work/servers" && grep -q '^serving' "$work/rmcp" && break
  sleep 0.1
done
mcp=$(awk '/^MCP server/ {print $3}' "$work/servers")
issuer=$(awk '/^authorization server/ {print $3}' "$work/servers")

# An import is resolved from where the file is.
cp "$here/crates/cli/tests/npm/client.mjs" "$sdk/interop.mjs"
"$node" "$sdk/interop.mjs" "$mcp"
"$node" "$sdk/interop.mjs" "$(awk '/^MCP server/ {print $3}' "$work/rmcp")"

bin=$suite/node_modules/@modelcontextprotocol/conformance/dist/index.js
registered=$(curl -sS "$issuer/register" -H 'content-type: application/json' \
  -d '{"redirect_uris":["http://127.0.0.1:3000/callback"],"token_endpoint_auth_method":"none"}')
client=$(printf '%s' "$registered" | "$node" -p 'JSON.parse(require("fs").readFileSync(0)).client_id')
"$node" "$bin" authorization --url "$issuer" --client-id "$client" --resource "$mcp" -p 3000 \
  >"$work/suite" 2>&1 &
suite_pid=$!
# The suite prints the URL that a user would open; the built-in consent approves itself.
for _ in $(seq 300); do
  opened=$(grep -oE "$issuer/authorize[^ \"]*" "$work/suite" | head -1 || true)
  [ -n "$opened" ] && break
  kill -0 $suite_pid 2>/dev/null || break
  sleep 0.1
done
[ -z "${opened:-}" ] || curl -sSL -o "$work/page" "$opened"
if wait $suite_pid; then
  grep -E "passed|PASS|✓" "$work/suite" | tail -n 4 || true
  echo "authorization-server scenarios pass"
else
  cat "$work/suite" >&2
  exit 1
fi
