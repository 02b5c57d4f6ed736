"""Converting a TensorFlow graph as it stands: no trace, no variables, no SavedModel."""

import dataclasses
import types
from collections.abc import Callable, Collection, Iterable

import tensorflow as tf
from tensorflow.lite.python.lite import TFLiteConverterBaseV2

from tfcompress.tflite.conversion import convert_with


@dataclasses.dataclass(frozen=True)
class Graph:
    """A graph without variables, with what enters and leaves it.

    Attributes:
        definition: its nodes.
        inputs: names of the tensors that enter.
        outputs: names of the tensors that leave.
    """

    definition: tf.compat.v1.GraphDef
    inputs: list[str]
    outputs: list[str]

    def convert(self, configure: Callable = lambda converter: None) -> bytes:
        """Convert the graph to a flatbuffer without signatures.

        Args:
            configure: sets options of the converter before it runs.

        Returns:
            The flatbuffer.

        Raises:
            ConversionError: the converter refuses the graph.
        """
        with tf.Graph().as_default() as graph:
            tf.compat.v1.import_graph_def(self.definition, name="")
            inputs, outputs = (
                [graph.get_tensor_by_name(name) for name in names]
                for names in (self.inputs, self.outputs)
            )
        # The public constructors take functions or files, and freeze once more what is frozen.
        converter = TFLiteConverterBaseV2()
        converter._trackable_obj = None
        converter._funcs = [types.SimpleNamespace(graph=graph)]  # what it words its errors with
        return convert_with(converter, configure, self.definition, inputs, outputs)

    def with_identities(self, names: Collection[str]) -> "Graph":
        """Return the graph in which some operations only pass on their first input."""
        definition = tf.compat.v1.GraphDef()
        definition.CopyFrom(self.definition)
        for node in definition.node:
            if node.name in names:
                node.op = "Identity"
                del node.input[1:]
        return dataclasses.replace(self, definition=definition)

    def with_ranges(self, names: Iterable[str], smallest: float, largest: float) -> "Graph":
        """Return the graph with fake quantization to 8 bits behind some tensors."""
        definition = tf.compat.v1.GraphDef()
        definition.CopyFrom(self.definition)
        for end, value in (("smallest", smallest), ("largest", largest)):
            constant = definition.node.add(name=f"range/{end}", op="Const")
            constant.attr["dtype"].type = tf.float32.as_datatype_enum
            constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.float32))
        ranged = {}
        for name in dict.fromkeys(names):
            source = name.removesuffix(":0")
            ranged[source] = f"{name.replace(':', '_')}/range"
        for node in definition.node:
            node.input[:] = [ranged.get(source, source) for source in node.input]
        for source, name in ranged.items():
            node = definition.node.add(name=name, op="FakeQuantWithMinMaxVars")
            node.input.extend([source, "range/smallest", "range/largest"])
            node.attr["num_bits"].i = 8
            node.attr["narrow_range"].b = False
        outputs = [
            f"{ranged[name.removesuffix(':0')]}:0" if name.removesuffix(":0") in ranged else name
            for name in self.outputs
        ]
        return dataclasses.replace(self, definition=definition, outputs=outputs)
