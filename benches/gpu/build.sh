#!/usr/bin/env bash
# Builds what `check.py` runs on a GPU machine: `distill` and two examples with CUDA, stripped, into benches/gpu/bin.
#
# Usage: benches/gpu/build.sh      (a separate target folder: features differ from the default build's)
set -euo pipefail
cd "$(dirname "$0")/../.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/cuda} CUDARC_CUDA_VERSION=${CUDARC_CUDA_VERSION:-13000}
cargo build --release --locked --workspace --features cuda --bins --example train_speed --example decode
mkdir -p benches/gpu/bin
for program in distill examples/train_speed examples/decode; do
  strip -o "benches/gpu/bin/$(basename "$program")" "$CARGO_TARGET_DIR/release/$program"
done
ls -l benches/gpu/bin
