#!/usr/bin/env bash
# Builds every fuzz target with the stable toolchain and runs each for SECONDS (default 20), from its committed seeds.
# What is found on the way stays in fuzz/corpus (not committed); a crash is an error and its input stays in fuzz/artifacts.
#   usage: fuzz/run.sh [SECONDS] [TARGET]...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
../tests/peers/install.sh fuzz

seconds=${1:-20}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(coap tlv senml_json senml_cbor link_format)

host=$(rustc -vV | sed -n 's/^host: //p')
# libFuzzer's instrumentation, as cargo-fuzz would ask a nightly compiler for it.
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
for option in inline-8bit-counters pc-table trace-compares; do
  flags+=" -Cllvm-args=-sanitizer-coverage-$option"
done
flags+=" -Cllvm-args=-simplifycfg-branch-fold-threshold=0"
RUSTFLAGS=$flags cargo build --locked --quiet --release --target "$host" --target-dir target --bins

for target in "${targets[@]}"; do
  mkdir -p "corpus/$target" "artifacts/$target"
  began=$(date +%s)
  if ! "target/$host/release/$target" "corpus/$target" "seeds/$target" -max_total_time="$seconds" -timeout=10 \
    -rss_limit_mb=1024 -max_len=2048 -print_final_stats=1 -artifact_prefix="artifacts/$target/" >"target/$target.log" 2>&1; then
    tail -60 "target/$target.log"
    echo "fuzz $target: failed; its input lies in fuzz/artifacts/$target" >&2
    exit 1
  fi
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "target/$target.log")
  printf 'fuzz %-12s %9s executions in %s s, no failure\n' "$target" "$runs" "$(($(date +%s) - began))"
done
