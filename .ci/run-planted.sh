#!/usr/bin/env bash
# The planted bugs and the exhaustive search of the core's step function, in copies of the crate.
#
#   run-planted.sh [arguments of the test binary]
#
# Prints a line for each bug and engine: the violation, or MISSED. PROOF=each shows a bug to two engines only;
# PLANTED_BUGS=6,25 and PLANTED_ENGINES=Search,Traces take some of them. The copies stay, and are built again
# only where the sources changed.
set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# With the features of the README's command: nothing is compiled again for the gate.
exec cargo test --test planted -- --ignored --nocapture --test-threads=1 --skip keep "$@"
