"""Squared error of our Q4_0 and Q8_0 beside gguf-py's quantiser: quantiser_error.py WORKDIR, after smollm2.py WORKDIR."""

import pathlib
import sys

import numpy
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize, quantize

work = pathlib.Path(sys.argv[1])
exact = GGUFReader(work / "f32.gguf")
for name in ["q4_0", "q8_0"]:
    kind = GGMLQuantizationType[name.upper()]
    quantised = {tensor.name: tensor for tensor in GGUFReader(work / f"{name}.gguf").tensors}
    ours = theirs = 0.0
    for tensor in exact.tensors:
        if len(tensor.shape) < 2 or "token_embd" in tensor.name:
            continue
        weights = numpy.array(tensor.data, dtype=numpy.float32)
        found = dequantize(quantised[tensor.name].data, quantised[tensor.name].tensor_type)
        ours += ((found - weights) ** 2).sum()
        theirs += ((dequantize(quantize(weights, kind), kind) - weights) ** 2).sum()
    print(f"{name}: squared error {ours / theirs:.3f} of gguf-py's")
