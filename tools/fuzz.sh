#!/usr/bin/env bash
# Lets libFuzzer work on each parser that meets the network: tools/fuzz.sh SECONDS [NAME…]
#
# Starts from tests/vectors/NAME and from what earlier runs have found (target/fuzz/NAME). An input that breaks a parser
# is left beside that; mended, it belongs into tests/vectors/NAME, where `cargo test` replays it.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
work=${CARGO_TARGET_DIR:-$root/target}/fuzz
seconds=${1:?how many seconds for each target?}
shift

# Apart from other builds, for Cargo does not tell the instrumented library from the plain one.
export CARGO_TARGET_DIR=$work/build RUSTC_WORKSPACE_WRAPPER=$root/tools/fuzz_rustc.sh
fuzz=(cargo test --quiet --release --features python --test fuzz --)

cd "$root"
if (($# == 0)); then
	mapfile -t names < <("${fuzz[@]}" list)
	set -- "${names[@]}"
fi
(($# > 0)) || exit 1
failed=0
for name in "$@"; do
	mkdir -p "$work/$name"
	log=$work/$name.log
	if "${fuzz[@]}" run "$name" "$work/$name" "$root/tests/vectors/$name" -max_total_time="$seconds" -max_len=16384 \
		-timeout=10 -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$work/$name-" >"$log" 2>&1; then
		runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
		covered=$(grep -o 'cov: [0-9]*' "$log" | tail -1)
		printf '  ✓ %-16s %10s inputs, %s\n' "$name" "$runs" "$covered"
	else
		failed=1
		printf '  ✗ %-16s see %s\n' "$name" "$log"
		grep -E 'panicked|ERROR: libFuzzer|Test unit written' -A 1 "$log" | sed 's/^/      /'
	fi
done
exit $failed
