#!/usr/bin/env bash
# A million synthetic traces of about 20 KB each through the stages behind sampling: time and peak of resident memory.
# Usage: benches/scale.sh [PROBLEMS] [SAMPLES] [BYTES] [FOLDER]; by default 250,000 problems, 4 samples of 20,000 bytes each.
# Needs about 2 x PROBLEMS x SAMPLES x BYTES of free disk. No server is asked: the answers are put where bought ones lie.
set -euo pipefail
cd "$(dirname "$0")/.."
problems=${1:-250000} samples=${2:-4} bytes=${3:-20000} parent=${4:-${TMPDIR:-/tmp}}
cargo build --release --workspace --bin distill --example fill
target=$(cargo metadata --no-deps --format-version 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/release
folder=$(mktemp -d "$parent/scale-XXXXXX")
trap 'rm -rf "$folder"' EXIT
cat > "$folder/scale.toml" <<TOML
name = "scale"
seed = 1

[[sources]]
problems = { generator = "chain-sum", count = $problems, terms = [4, 6], first = [10, 999], operand = [1, 99] }
teacher = { http = { url = "http://127.0.0.1:9/v1", model = "synthetic" } }
sampling = { samples-per-problem = $samples, temperature = 0.6, top-p = 0.95, max-new-tokens = 8192 }

[[filters]]
kind = "format"

[[filters]]
kind = "length"

[[filters]]
kind = "duplicates"

[[filters]]
kind = "verify"
on-unknown = "reject"

[export]
dataset-name = "scale"
license = "apache-2.0"
TOML
cd "$folder"
# The problems are made, and the budget ends before anything is asked.
"$target/distill" sample scale.toml --set sources.0.sampling.budget-tokens=1 2> budget.log || [ $? -eq 3 ] || { cat budget.log; exit 1; }
"$target/examples/fill" runs/scale/problems "$(dirname "$(find . -type d -name answers | head -1)")" synthetic "$samples" "$bytes"
for stage in sample filter export; do
    echo "$stage: $(/usr/bin/time -f '%e s, %U s user, %M KiB at most' "$target/distill" "$stage" scale.toml 2>&1 > /dev/null | tail -1)"
done
"$target/distill" status scale
du -sh .
