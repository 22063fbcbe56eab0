#!/bin/sh
# RUSTC_WORKSPACE_WRAPPER of `make fuzz`: our own crate with the counters that libFuzzer watches, and with overflow and
# debug assertions on; dependencies stay as they are. These are the stable flags that `cargo fuzz --sanitizer none` gives.
exec "$@" --cfg fuzzing -Ccodegen-units=1 -Copt-level=2 -Cdebug-assertions=on -Coverflow-checks=on \
	-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
	-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
