"""Trials made by hand."""

from tfcompress.search.candidates import Candidate
from tfcompress.search.results import Reference, Trial

REFERENCE = Reference("original.tflite", 0.9, 400, 200, 0.004, 100, 1000, 20)


def made(number, accuracy, gzip_size, latency=0.002, **changes):
    """Return a finished trial; its candidate is given by ``candidate`` or by its fields."""
    candidate = changes.pop("candidate", None) or Candidate(**changes.pop("asked", {}))
    values = {
        "epochs": 10,
        "seconds": 30.0,
        "training_seconds": 20.0,
        "accuracy": accuracy,
        "accuracy_drop": REFERENCE.accuracy - accuracy,
        "size": 2 * gzip_size,
        "gzip_size": gzip_size,
        "compression_ratio": REFERENCE.gzip_size / gzip_size,
        "latency": latency,
        "reference_latency": REFERENCE.latency,
        "parameters": 50,
        "macs": 500,
        "zeros": 0.5,
        "runs_on_target": True,
    }
    return Trial(number, candidate, **{**values, **changes})


def failed(number, **asked):
    """Return a trial that could not be converted."""
    return Trial(number, Candidate(**asked), error="refused")
