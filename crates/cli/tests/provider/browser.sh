#!/usr/bin/env bash
# A browser without a window: goes where it is sent, and keeps its cookies in the file $COOKIES.
#
#   browser.sh URL
set -eu
exec curl -sS -L --max-redirs 20 --max-time 60 -o /dev/null -b "$COOKIES" -c "$COOKIES" "$1"
