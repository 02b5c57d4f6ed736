"""Export Keras models to .tflite files, and check that the files compute what the models do.

Importing this package loads neither TensorFlow nor Keras, nor a runtime: each name is imported when
it is first used.
"""

import lazy_loader

from tfcompress.deprecation import with_old_names

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "benchmarking": ["BenchmarkResult", "benchmark"],
        "bundle": ["write_bundle"],
        "compatibility": ["CompatibilityReport", "check_target"],
        "export": ["export_tflite"],
        "inspection": ["Inspection", "inspect"],
        "parity": ["ParityReport"],
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
        "validation": ["validate"],
    },
)
__getattr__ = with_old_names(
    __name__, __getattr__, {"Agreement": "ParityReport", "Verdict": "CompatibilityReport"}
)
