#!/usr/bin/env bash
# A journal of ENTRIES entries of BYTES bytes each: made, opened with a cold and a warm page cache, read in another order.
# Usage: benches/journal.sh [ENTRIES] [BYTES] [FOLDER]. Needs about ENTRIES x BYTES of free disk while it writes.
set -euo pipefail
cd "$(dirname "$0")/.."
entries=${1:-1000000} bytes=${2:-20000} parent=${3:-${TMPDIR:-/tmp}}
cargo build --release -p distill-dataset --example journal_scale
scale=$(cargo metadata --no-deps --format-version 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/release/examples/journal_scale
folder=$(mktemp -d "$parent/journal-scale-XXXXXX")
trap 'rm -rf "$folder"' EXIT
"$scale" make "$folder" "$entries" "$bytes"
# Pages of these files leave the cache, so that the first opening reads the disk.
sync "$folder"/*
for file in "$folder"/*; do dd if="$file" iflag=nocache count=0 status=none; done
"$scale" open "$folder"
"$scale" open "$folder"
"$scale" read "$folder" "$((entries < 20000 ? entries : 20000))"
