#!/usr/bin/env python3
"""The event files of a training run, read by TensorBoard's own reader and compared with `metrics.jsonl`.

    pip install tensorboard
    tests/real/tensorboard_events.py FOLDER      (a trained checkpoint: it holds metrics.jsonl and tensorboard/)
"""

import json
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

folder = pathlib.Path(sys.argv[1])
events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
events.Reload()
seen = {event.step: event.value for event in events.Scalars("train/loss")}
lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
losses = {line["step"]: line["loss"] for line in lines if line.get("loss") is not None}
assert losses and seen.keys() == losses.keys(), (len(seen), len(losses))
assert all(abs(seen[step] - loss) <= 1e-6 * abs(loss) for step, loss in losses.items())
print(f"{len(losses)} losses agree; tags {events.Tags()['scalars']}")
