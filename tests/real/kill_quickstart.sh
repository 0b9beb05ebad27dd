#!/usr/bin/env bash
# 20 `kill -9` spread over two quickstart runs, against an undisturbed run: the same dataset, the same weights.
#
# Usage: tests/real/kill_quickstart.sh [FOLDER]     (about ten minutes on 2 cores; needs python3)
set -euo pipefail
root=$(realpath "$(dirname "$0")/../..")
folder=${1:-$(mktemp -d)}
distill=${DISTILL:-$root/target/release/distill}
run() { "$distill" run "$root/recipes/quickstart.toml" --store "$1/store" --runs "$1/runs" > "$1/log" 2>&1; }
digests() {
  "$distill" status quickstart --runs "$1/runs" --json | python3 -c "
import json, sys
for stage in json.load(sys.stdin)['stages']:
    if stage['stage'] in ('problems', 'traces', 'measures', 'selection', 'export', 'examples', 'training', 'evaluation'):
        print(stage['label'], stage['digest'])"
}
mkdir -p "$folder/whole"
run "$folder/whole"
digests "$folder/whole" > "$folder/whole/digests"
for attempt in 1 2; do
  mkdir -p "$folder/$attempt"
  kills=0
  for seconds in 0.3 1.1 2.7 5.3 9.1 14.2 3.6 11.8 17.5 13.3; do
    run "$folder/$attempt" & pid=$!
    sleep "$seconds"
    # The function's shell and the program below it.
    if pkill -9 -P $pid -x distill; then kills=$((kills + 1)); fi
    wait $pid 2> /dev/null || true
  done
  run "$folder/$attempt"
  digests "$folder/$attempt" > "$folder/$attempt/digests"
  diff "$folder/whole/digests" "$folder/$attempt/digests"
  cmp "$folder/whole/runs/quickstart/published/model.safetensors" "$folder/$attempt/runs/quickstart/published/model.safetensors"
  echo "run $attempt: $kills kills, every digest and the weights equal"
done
