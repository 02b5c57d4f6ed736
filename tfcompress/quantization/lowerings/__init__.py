"""What some layers compute, written so that integer kernels can follow it.

Tensors inside a layer are seen without its help (``tfcompress.keras_graph.inner_tensors``), so most
layers, the user's own too, compute as they are. A layer listed here has a form of its own: one with
operations for which devices have integer kernels, without a loop, or faster. A form computes the
same values; it may offer a tensor to ``tap(role, tensor)``, which returns what to go on with.
"""

from tfcompress.quantization.lowerings.registry import observable_call

__all__ = ["observable_call"]
