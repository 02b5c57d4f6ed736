"""From a Keras model to a proven .tflite file.

Importing this package loads neither TensorFlow nor Keras, nor a runtime: each name is imported when
it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "bundling.bundle": ["write_bundle"],
        "comparing.validation": ["Agreement", "validate"],
        "export": ["export_tflite"],
        "judging.target_check": ["Verdict", "check_target"],
        "reading.inspection": ["Inspection", "inspect"],
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
        "timing.benchmarking": ["BenchmarkResult", "benchmark"],
    },
)
