#!/usr/bin/env bash
# Runs one step of the set-up with its name, a running clock where a person watches, and its output only when it fails.
# Usage: step.sh NAME COMMAND...
set -euo pipefail
name=$1
shift
log=$(mktemp)
trap 'rm -f "$log"' EXIT
started=$SECONDS
"$@" >"$log" 2>&1 &
job=$!
if [ -t 1 ]; then
  while kill -0 "$job" 2>/dev/null; do
    printf '\r  … %s  %3d s' "$name" $((SECONDS - started))
    sleep 0.5
  done
  printf '\r'
fi
if wait "$job"; then
  printf '  ✓ %s  %3d s\n' "$name" $((SECONDS - started))
else
  status=$?
  printf '  ✗ %s failed after %d s:\n' "$name" $((SECONDS - started)) >&2
  tail -n 60 "$log" >&2
  exit "$status"
fi
