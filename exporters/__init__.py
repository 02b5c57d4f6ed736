"""From a Keras model to a proven .tflite file.

Importing this package loads neither TensorFlow nor Keras, nor a runtime: each name is imported when
it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "bundle": ["write_bundle"],
        "parity": ["Agreement"],
        "export": ["export_tflite"],
        "compatibility": ["Verdict", "check_target"],
        "inspection": ["Inspection", "inspect"],
        "running.runtime": [
            "Limits",
            "RunError",
            "Runtime",
            "find_runtimes",
            "load",
            "load_isolated",
            "run",
            "run_isolated",
        ],
        "benchmarking": ["BenchmarkResult", "benchmark"],
        "validation": ["validate"],
    },
)
