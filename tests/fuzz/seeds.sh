#!/usr/bin/env bash
# Fills the corpora of the fuzz targets from the corpus of bad files and the parity fixtures.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p corpus/{safetensors,gguf,config,chat}
for file in ../hostile/files/*/model.safetensors; do cp "$file" "corpus/safetensors/$(basename "$(dirname "$file")")"; done
cp ../hostile/files/*.gguf corpus/gguf/
for file in ../hostile/files/*/config.json ../parity/models/*/config.json; do cp "$file" "corpus/config/$(basename "$(dirname "$file")")"; done
cp ../parity/templates/*.jinja ../../recipes/templates/*.jinja ../../recipes/nano/chat_template.jinja corpus/chat/
