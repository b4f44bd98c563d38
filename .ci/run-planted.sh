#!/usr/bin/env bash
# The planted bugs and the exhaustive search of the core's step function, in a copy of the crate.
#
#   run-planted.sh [arguments of the test binary]
#
# Prints a line for each bug: the engines that caught it, or MISSED.
set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec cargo test -p mcp-auth-machine --test planted -- --ignored --nocapture --test-threads=1 --skip keep "$@"
