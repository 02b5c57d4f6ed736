"""Operations of a TensorFlow graph that compute what another one has computed already.

Grappler, which the converter calls, keeps one of them: two rectifiers of one tensor are one on the
device.
"""

import tensorflow as tf

# Larger constants are weights, which are equal where they are the same.
_COMPARED_BYTES = 1024
_NEVER_ALIKE = frozenset({"Placeholder", "PartitionedCall", "StatefulPartitionedCall"})


def repeated(definition: tf.compat.v1.GraphDef) -> dict[str, str]:
    """Find the nodes of a graph that repeat an earlier one.

    Args:
        definition: the graph, its nodes in the order in which they can run.

    Returns:
        {name of a node: name of the first one of the same operation, attributes and inputs}.
    """
    first, repeats = {}, {}
    for node in definition.node:
        if node.op in _NEVER_ALIKE or node.ByteSize() > _COMPARED_BYTES:
            continue
        attributes = tuple(
            (name, node.attr[name].SerializeToString(deterministic=True))
            for name in sorted(node.attr)
        )
        inputs = tuple(_renamed(source, repeats) for source in node.input)
        original = first.setdefault((node.op, attributes, inputs), node.name)
        if original != node.name:
            repeats[node.name] = original
    return repeats


def _renamed(source, repeats):
    name, colon, output = source.partition(":")
    return repeats.get(name, name) + (colon + output if output not in ("", "0") else "")
