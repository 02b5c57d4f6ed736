"""Callbacks that compress a model while ``fit`` trains it, and that report on it.

Importing this package loads neither TensorFlow nor Keras: each name is imported on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "deployed": ["DeployedAccuracy"],
        "dynamic_sparse_training": ["SET", "RigL"],
        "pruning": ["MagnitudePruning"],
        "quantization": ["QuantizationSchedule"],
        "slimming": ["NetworkSlimming"],
        "sparse_optimization": [
            "IterativeHardThresholding",
            "ProximalL1",
            "SparsityRegularization",
        ],
        "summary": ["CompressionSummary"],
    },
)
