#!/usr/bin/env bash
# Fills the corpora of the fuzz targets from the corpus of bad files and the parity fixtures.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p corpus/{safetensors,gguf,config,chat,math,body}
for file in ../hostile/files/*/model.safetensors; do cp "$file" "corpus/safetensors/$(basename "$(dirname "$file")")"; done
cp ../hostile/files/*.gguf corpus/gguf/
for file in ../hostile/files/*/config.json ../parity/models/*/config.json; do cp "$file" "corpus/config/$(basename "$(dirname "$file")")"; done
cp ../parity/templates/*.jinja ../../recipes/templates/*.jinja ../../recipes/nano/chat_template.jinja corpus/chat/
# Gold and answer of every authored pair, a line each.
grep -hv '^#' ../../filters/verify/tests/pairs/*.tsv | cut -f2- | while IFS=$'\t' read -r gold answer; do
    printf '%s\n%s' "$gold" "$answer" > "corpus/math/$(printf '%s\t%s' "$gold" "$answer" | sha256sum | cut -c1-16)"
done
# What servers of the teacher's tests send, as a whole body and as a stream of one event, and of all of a file; before it the
# eight bytes that say how it is read: with a key, nothing received before, usual limits, to its end.
body() {
    local text
    text=$(cat && echo .)
    printf '\x00\x0f\x0f\x0f\x00\x01\x02\x03%s' "${text%.}" > "corpus/body/$(printf '%s' "$text" | sha256sum | cut -c1-16)"
}
tests=../../teacher/src/http
for file in "$tests"/{tests,body,wire}.rs "$tests"/tests/*.rs; do
    chunks=$(grep -oP 'r#"\K\{.*?\}(?="#)' "$file" || true)
    [ -n "$chunks" ] || continue
    while IFS= read -r chunk; do
        printf '%s' "$chunk" | body
        printf 'data: %s\n\ndata: [DONE]\n\n' "$chunk" | body
    done <<< "$chunks"
    sed 's/.*/: keep-alive\n\ndata: &\n/' <<< "$chunks" | body
done
for text in '' '<html>Sign in</html>' $'\xef\xbb\xbf \n' $'\xef\xbb\xbfdata:[DONE] \r\r' $'data: {"choices":[{"delta":{"content":"\xf0\x9f\x99'; do
    printf '%s' "$text" | body
done
