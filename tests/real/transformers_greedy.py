"""The published student in Transformers: does it load, and is its greedy output ours, token for token?

Usage: first `distill run recipes/quickstart.toml --set evaluation.temperature=0 --set evaluation.samples-per-problem=1`,
then   transformers_greedy.py runs/quickstart
Needs torch, transformers and pyarrow. Compares every held-out problem, with Transformers' own rendering of the chat
template and its own tokenizer.
"""

import pathlib
import sys

import pyarrow.parquet as pq
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

run = pathlib.Path(sys.argv[1])
folder = run / "published"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def rows(stage):
    return [row for part in sorted((run / stage).glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]


problems = {row["id"]: row["messages"] for row in rows("problems")}
attempts = rows("evaluation-after")
equal = 0
for attempt in attempts:
    ids = tokenizer.apply_chat_template(problems[attempt["problem_id"]], add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert ids["input_ids"].shape[1] == attempt["prompt_tokens"], "the prompts have different lengths"
    with torch.no_grad():
        out = model.generate(**ids, do_sample=False, max_new_tokens=96, pad_token_id=tokenizer.pad_token_id)
    theirs = out[0, ids["input_ids"].shape[1] :].tolist()
    if theirs == attempt["token_ids"]:
        equal += 1
    else:
        print("differs:", attempt["problem_id"], "\n ours  ", attempt["token_ids"], "\n theirs", theirs)
print(f"{equal} of {len(attempts)} greedy outputs equal, token for token ({sum(len(a['token_ids']) for a in attempts)} tokens)")
sys.exit(equal != len(attempts))
