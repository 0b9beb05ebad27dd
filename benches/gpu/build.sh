#!/usr/bin/env bash
# Builds what `check.py` runs on a GPU machine: `distill` and three examples with CUDA, stripped, into benches/gpu/bin, and
# packs them into one bin/bin.tar.xz, which may have 60 MB.
#
# Usage: benches/gpu/build.sh      (a separate target folder: features differ from the default build's)
set -euo pipefail
cd "$(dirname "$0")/../.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/cuda} CUDARC_CUDA_VERSION=${CUDARC_CUDA_VERSION:-13000}
cargo build --release --locked --workspace --features cuda --bin distill --example train_speed --example ladder --example decode
bin=benches/gpu/bin
mkdir -p "$bin"
for program in distill examples/train_speed examples/ladder examples/decode; do
  strip -o "$bin/$(basename "$program")" "$CARGO_TARGET_DIR/release/$program"
done
# One stream with a window over all four: they have most of their code in common. Several threads would cut it into blocks
# that do not see each other.
tar -C "$bin" -cf - distill train_speed ladder decode | xz -T1 -6 --lzma2=dict=256MiB > "$bin/bin.tar.xz"
bytes=$(stat -c %s "$bin/bin.tar.xz")
ls -l "$bin"
echo "$((bytes / 1000000)) MB packed"
if ((bytes > 60000000)); then
  echo "expected at most 60 MB" >&2
  exit 1
fi
