"""Reading .tflite files as data; nothing here imports TensorFlow or Keras."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "constants": ["constant_value"],
        "flatbuffer": ["read_model"],
        "model": [
            "FlatbufferError",
            "Operation",
            "Quantization",
            "Signature",
            "Subgraph",
            "Tensor",
            "TFLiteModel",
        ],
        "precision": ["float_operations"],
    },
)
