"""From a Keras model to a proven .tflite file.

Importing this package loads neither TensorFlow nor Keras, nor a runtime: each name is imported when
it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "benchmarking": ["BenchmarkResult", "benchmark"],
        "bundle": ["write_bundle"],
        "export": ["export_tflite"],
        "inspection": ["Inspection", "inspect"],
        "runtime": [
            "Limits",
            "RunError",
            "Runtime",
            "find_runtimes",
            "load",
            "load_isolated",
            "run",
            "run_isolated",
        ],
        "target_check": ["Verdict", "check_target"],
        "validation": ["Agreement", "validate"],
    },
)
