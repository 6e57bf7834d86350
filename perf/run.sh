#!/usr/bin/env bash
# Builds the engine and the measuring program as released, then measures the engine beside the
# floors. Arguments go to `tidegate-perf run`: `bash perf/run.sh --quick` is a first impression.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked -p tidegate -p tidegate-perf
target="${CARGO_TARGET_DIR:-target}"
exec "$target/release/tidegate-perf" run "$@"
