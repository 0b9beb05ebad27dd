"""Random quantised blocks and what gguf-py makes of them: python tests/parity/blocks.py   (seen with gguf 0.19)

The test is in `student/checkpoint/src/blocks.rs`.
"""

import json
import pathlib

import numpy
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

random = numpy.random.default_rng(7)
# Where the half-precision scales of a block lie, so that random bytes are no NaN.
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
cases = []
for name, scales in SCALES.items():
    kind = GGMLQuantizationType[name]
    length, size = GGML_QUANT_SIZES[kind]
    for _ in range(256 // length * 2):
        block = random.integers(0, 256, size, dtype=numpy.uint8)
        for at in scales:
            block[at : at + 2] = numpy.frombuffer(numpy.float16(random.normal() * 0.05).tobytes(), numpy.uint8)
        values = dequantize(block.reshape(1, size), kind).reshape(-1)
        # The bits of float32: exactly.
        cases.append({"dtype": name, "block": block.tobytes().hex(), "values": values.astype("<f4").tobytes().hex()})
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(cases, indent=0) + "\n")
print(len(cases), "blocks,", path.stat().st_size, "bytes")
