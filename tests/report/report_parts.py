"""Findings made by hand, with names that would break a page that trusts them."""

import math
import pathlib

import numpy as np

from exporters.benchmarking import Measurement
from exporters.compatibility import CompatibilityReport
from exporters.parity import OutputParity, ParityReport, RunParity
from tfcompress.report.answers import find_answers
from tfcompress.report.findings import FileFindings, Findings, LayerFindings
from tfcompress.report.histories import Training
from tfcompress.report.weights import Histogram, Weights
from tfcompress.search.candidates import Candidate
from tfcompress.search.results import Budget, Reference, SearchResult, Trial

HOSTILE = "<script>alert(1)</script>|$x^{$_&\"'"


def make_file(name="small.tflite", **changed):
    facts = {
        "sha256": "ab" * 32,
        "size": 4000,
        "gzip_size": 2000,
        "parameters": 3000,
        "sparsity": 0.5,
        "macs": 120_000,
        "operations": {"CONV_2D": 1, "FULLY_CONNECTED": 1},
        "float_operations": 0,
        "min_runtime": "1.14.0",
        "metric": 0.9,
        "timing": Measurement(name, "xnnpack", 1, 0.002, 0.001, 0.0015, 0.0009, 2**20),
    }
    return FileFindings(name, **(facts | changed))


def make_layer(index, layer, *, sqnr=30.0, zeros=50, seconds=0.0005, bits=8):
    histogram = Histogram(-1.0, 1.0, (1, 20, 0, 4))
    weights = Weights(100, zeros, 7, bits, histogram)
    return LayerFindings(
        index, "CONV_2D", layer, "INT8", False, 120 + index, 1000, weights, sqnr, 40.0, seconds
    )


def make_trial(number, accuracy, size):
    return Trial(
        number=number,
        candidate=Candidate(channels=0.25),
        accuracy=accuracy,
        accuracy_drop=0.91 - accuracy,
        gzip_size=size,
        compression_ratio=8000 / size,
        latency=0.002,
        reference_latency=0.004,
        seconds=10.0,
        runs_on_target=True,
    )


def make_findings(**changed):
    """Findings about everything there is, hostile names among them."""
    names = [HOSTILE, *(f"block_{place}/conv" for place in (1, 2))]
    bits = [8, 4]
    output = OutputParity(HOSTILE, "LSB", 0.1, 0.8, 0.99, 3, 0.995)
    facts = {
        "file": make_file(),
        "baseline": make_file(
            "float.tflite",
            size=16_000,
            gzip_size=14_000,
            sparsity=0.0,
            float_operations=2,
            metric=0.91,
            timing=Measurement("float.tflite", "xnnpack", 1, 0.004, 0.003, 0.004, 0.002, 2**21),
        ),
        "layers": (
            *(make_layer(place, name, bits=bits[place % 2]) for place, name in enumerate(names)),
            LayerFindings(3, "SOFTMAX", None, "INT8", False, 0, 0, sqnr=math.inf),
        ),
        "reference": "the Keras model toy",
        "agreement": ParityReport(
            100,
            (
                RunParity("litert 1", "xnnpack", (output,), 0.9),
                RunParity("litert 1", "reference", error="aborted"),
            ),
            0.9,
        ),
        "answers": find_answers(
            np.eye(3)[[0, 1, 2, 1]],
            np.eye(3)[[0, 1, 2, 2]],
            np.array([0, 1, 2, 2]),
            [np.zeros((4, 8, 8, 3))],
            HOSTILE,
            (HOSTILE, "b", "c"),
        ),
        "noise_reference": "toy with its weights in float",
        "verdicts": (
            CompatibilityReport("raspberry-pi-4", True, (), {}, "1.14.0"),
            CompatibilityReport(
                "coral-edgetpu", False, tuple(map(str, range(12))), {"SOFTMAX": 1}, None
            ),
        ),
        "trainings": (
            Training("float", {"loss": [1.0, 0.5], "val_accuracy": [0.5, 0.9]}, 3000, 12.0),
            Training(HOSTILE, {"loss": [0.4, 0.3], "val_accuracy": [0.8, 0.89]}),
        ),
        "search": SearchResult(
            pathlib.Path("search"),
            "toy",
            "raspberry-pi-4",
            Budget(0.001),
            900,
            Reference("original.tflite", 0.91, 16_000, 14_000, 0.004, 3000, 120_000, 500),
            (
                make_trial(0, 0.905, 5000),
                make_trial(1, 0.89, 2000),
                make_trial(2, 0.8, 6000),
                Trial(3, Candidate(channels=0.25), error="out of memory"),
            ),
            {"python": "3.11"},
        ),
        "runtime": "litert 1",
        "environment": {"python": "3.11"},
        "sources": {HOSTILE: "cd" * 32},
        "command": "tfcompress report small.tflite --out report",
    }
    return Findings(**(facts | changed))
