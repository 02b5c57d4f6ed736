"""Convolutional networks of the zoo in TFLite Micro's interpreter: is every byte the Keras model's?

    python benchmarks/micro_zoo.py --rows rows.jsonl --json micro_zoo.json

Each has random weights that keep values at one scale, is trained for two steps with
``Scheme(kernels="micro")`` and exported; the interpreter of the package tflite-micro runs the file
on 32 random inputs. The arena is the smallest that it takes, to
1 KiB. Finished rows are kept, and an interrupted run goes on.
"""

import argparse
import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from finished_rows import FinishedRows
from limited_work import described

from exporters import RunError, load_isolated
from tfcompress.tflite.numerics import quantize

NETWORKS = (
    "mnist_convnet", "resnet", "preactivated_resnet", "se_resnet", "squeezenet", "densenet",
    "inception", "mobilenet_v3", "mobilenet_v4", "efficientnet", "shufflenet", "shufflenet_v2",
    "ghostnet", "attention_modules", "ghost_shrinkage", "u_net", "xception_u_net", "deeplab",
    "pyramid_parsing", "bisenet", "hrnet", "face_detector", "keypoint_regression", "espcn", "edsr",
    "zero_dce", "denoiser", "normalizer_free",
)  # fmt: skip


def measure(name):
    """Return the figures of a network, or why there are none: export or interpreter refuse it."""
    import keras
    from coverage_cells import begin_filled, trained
    from coverage_models import Row
    from zoo import ZOO

    import tfcompress as tfc
    from exporters.converting import convert_model

    build = ZOO["images"][name]
    model, data, inputs = begin_filled(Row("zoo", lambda library: build()))
    scheme = tfc.Scheme(kernels="micro")
    try:
        quantized = trained(keras, tfc.quantize_aware(model, scheme), data, rate=1e-5)
        content = convert_model(quantized).flatbuffer
    except (RuntimeError, ValueError) as error:
        return {"refused": described(error)}
    try:
        loaded = load_isolated(content, kernels="micro")
    except RunError as error:
        return {"refused": described(error)}
    with loaded:
        (found,), arena = loaded.predict(inputs, real=False), loaded.arena
    graph = loaded.model.subgraphs[0]
    expected = stored(graph.tensors[graph.outputs[0]], quantized.predict(inputs, verbose=0))
    return {
        "operations": len(graph.operations),
        "bytes": len(content),
        "arena": arena,
        "values": int(expected.size),
        "differing": int((found != expected).sum()),
        "kinds": int(np.unique(found).size),
    }


def stored(tensor, reals):
    """Return real numbers as a file stores them in a tensor."""
    (scale,), (zero_point,) = tensor.quantization.scales, tensor.quantization.zero_points
    return quantize(reals, scale, zero_point, tensor.dtype.lower())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=NETWORKS, default=NETWORKS, metavar="MODEL")
    parser.add_argument("--rows", type=pathlib.Path, help="keeps finished work, to go on from")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures")
    options = parser.parse_args()
    rows = FinishedRows(options.rows, ("model",))
    for name in options.models:
        if rows.find(model=name) is None:
            print(rows.add(model=name, **measure(name)), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows.rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
