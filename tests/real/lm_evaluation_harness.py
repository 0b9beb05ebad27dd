"""lm-evaluation-harness against `distill serve`: a small task of its own kind, with log-probabilities and with text.

Usage: lm_evaluation_harness.py WORKDIR CHECKPOINT   (from the repository's root, after `cargo build --release`; needs the package
lm-eval[api], transformers and torch)

Questions with four answers, of which the harness takes the likeliest, and sums to be completed. The data is written here;
the harness reads log-probabilities of prompts (`echo`, token ids) and greedy text from `/v1/completions`. Its choices and
their log-likelihoods must be those that it comes to with Transformers in float32.
"""

import json
import os
import pathlib
import subprocess
import sys

work, checkpoint = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
work.mkdir(parents=True, exist_ok=True)
PORT = 18790
FACTS = [("The capital of France is", ["Paris", "London", "Berlin", "Madrid"]), ("Water freezes at zero degrees", ["Celsius", "Newton", "Volt", "Ampere"]),
         ("The opposite of hot is", ["cold", "tall", "loud", "fast"]), ("The sun rises in the", ["east", "west", "north", "south"]),
         ("A dog is an", ["animal", "ocean", "engine", "idea"]), ("Two plus two equals", ["four", "five", "nine", "ten"])]
rows = [{"question": question, "choices": choices[shift:] + choices[:shift], "answer": (4 - shift) % 4}
        for shift in range(4) for question, choices in FACTS]
(work / "facts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
(work / "facts.yaml").write_text(f"""task: facts
dataset_path: json
dataset_kwargs: {{data_files: {{test: {work}/facts.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list: [{{metric: acc}}]
""")


def evaluate(name, *arguments):
    out = work / name
    subprocess.run([sys.executable, "-m", "lm_eval", "run", "--tasks", "facts", "--include_path", str(work), "--output_path", str(out), "--log_samples", *arguments],
                   check=True, stdout=subprocess.DEVNULL, env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OPENAI_API_KEY": "none"})
    samples = sorted(out.rglob("samples_facts_*.jsonl"))[-1]
    return [json.loads(line) for line in samples.read_text().splitlines()]


server = subprocess.Popen(["target/release/distill", "serve", checkpoint, "--name", "student", "--port", str(PORT)], stdout=subprocess.PIPE, text=True)
try:
    server.stdout.readline()
    ours = evaluate("ours", "--model", "local-completions", "--model_args",
                    f"model=student,base_url=http://127.0.0.1:{PORT}/v1/completions,tokenizer={checkpoint},tokenizer_backend=huggingface,num_concurrent=4,max_length=2048")
finally:
    server.terminate()
    server.wait()
theirs = evaluate("theirs", "--model", "hf", "--model_args", f"pretrained={checkpoint},dtype=float32", "--device", "cpu")
worst, agree = 0.0, 0
for a, b in zip(sorted(ours, key=lambda row: row["doc_id"]), sorted(theirs, key=lambda row: row["doc_id"])):
    agree += a["acc"] == b["acc"]
    for (x, greedy_x), (y, greedy_y) in zip((r[0] if isinstance(r[0], list) else r for r in a["resps"]), (r[0] if isinstance(r[0], list) else r for r in b["resps"])):
        worst = max(worst, abs(float(x) - float(y)))
        assert str(greedy_x) == str(greedy_y), (a["doc_id"], a["resps"], b["resps"])
right = sum(row["acc"] for row in ours)
print(f"{len(ours)} questions, {right:.0f} right; {agree} judged as with Transformers; largest difference of a log-likelihood {worst:.1e}")
assert agree == len(theirs) == len(rows) and worst < 1e-3
