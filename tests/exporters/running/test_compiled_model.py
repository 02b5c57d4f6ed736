"""LiteRT's CompiledModel, which Android apps use, from Python: equal to the interpreter."""

import numpy as np
import pytest
import toy_files
from ai_edge_litert.compiled_model import CompiledModel

from exporters import load


def compiled_outputs(content, rows):
    model = CompiledModel.from_buffer(content)
    inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
    found = []
    for row in rows:
        inputs[0].write(row)
        model.run_by_index(0, inputs, outputs)
        found.append(outputs[0].read(toy_files.CLASSES, row.dtype))
    return np.stack(found)


@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_a_compiled_model_gives_the_interpreters_values(kind):
    content = toy_files.content(kind)
    with load(content) as loaded:
        (details,) = loaded.inputs
        rows = [details.to_file(image[None]) for image in toy_files.images()[:16]]
        wanted = np.concatenate([loaded.run([row])[0] for row in rows])
    found = compiled_outputs(content, rows)
    assert len(np.unique(wanted)) > 4
    np.testing.assert_array_equal(found, wanted.reshape(found.shape))
