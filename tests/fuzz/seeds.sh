#!/usr/bin/env bash
# Fills the corpora of the fuzz targets from the corpus of bad files and the parity fixtures.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p corpus/{safetensors,gguf,config,chat,math}
for file in ../hostile/files/*/model.safetensors; do cp "$file" "corpus/safetensors/$(basename "$(dirname "$file")")"; done
cp ../hostile/files/*.gguf corpus/gguf/
for file in ../hostile/files/*/config.json ../parity/models/*/config.json; do cp "$file" "corpus/config/$(basename "$(dirname "$file")")"; done
cp ../parity/templates/*.jinja ../../recipes/templates/*.jinja ../../recipes/nano/chat_template.jinja corpus/chat/
# Gold and answer of every authored pair, a line each.
grep -hv '^#' ../../filters/verify/tests/pairs/*.tsv | cut -f2- | while IFS=$'\t' read -r gold answer; do
    printf '%s\n%s' "$gold" "$answer" > "corpus/math/$(printf '%s\t%s' "$gold" "$answer" | sha256sum | cut -c1-16)"
done
