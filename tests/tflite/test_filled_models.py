"""Real models filled with integers, against what they compute in float."""

import dataclasses

import keras
import numpy as np
import pytest
from one_operation import (
    DEFAULT_KERNELS,
    PLAIN,
    REFERENCE_KERNELS,
    constant,
    in_child,
    quantized,
    real,
    run,
    storage_for,
    weights_storage,
)

from exporters.converting import convert_model
from tfcompress.tflite import operations
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.editing import Editor
from tfcompress.tflite.filling import (
    BIASES,
    CELL_STATE,
    FUSED_LSTM,
    HIDDEN_STATE,
    INPUT_WEIGHTS,
    STATE_WEIGHTS,
    Filling,
    Storage,
    fill,
    inner_storages,
)
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.interpreter import tensor_values

KERNELS = (*DEFAULT_KERNELS, REFERENCE_KERNELS)


@dataclasses.dataclass(frozen=True, eq=False)
class Observed:
    """A float file with the values that its tensors take on some examples."""

    content: bytes
    examples: list[np.ndarray]
    results: np.ndarray
    values: dict[int, list[np.ndarray]]


def _observe(model, examples) -> Observed:
    content = convert_model(model, "float32").flatbuffer
    values: dict[int, list[np.ndarray]] = {}
    for example in examples:
        for tensor, value in tensor_values(content, [example]).items():
            if value.dtype == np.float32 and value.size:
                values.setdefault(tensor, []).append(value)
    results = np.concatenate([run(content, [example], PLAIN)[0] for example in examples])
    return Observed(content, examples, results, values)


@pytest.fixture(scope="module")
def network() -> Observed:
    keras.utils.set_random_seed(3)
    layers = keras.layers
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(inputs)
    y = layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = layers.Conv2D(8, 1)(layers.Add()([x, y]))
    x = layers.MaxPooling2D(2)(x)
    x = layers.GlobalAveragePooling2D()(layers.Concatenate()([x, layers.AveragePooling2D(2)(y)]))
    model = keras.Model(inputs, layers.Dense(5, activation="softmax")(x))
    random = np.random.default_rng(0)
    for weight in model.weights:
        if weight.shape.rank == 1:
            weight.assign(random.normal(size=weight.shape) / 5)
    examples = [random.normal(size=(1, 12, 12, 3)).astype(np.float32) for _ in range(24)]
    return _observe(model, examples)


def _planned(observed: Observed, dtype: str, weights: str) -> Filling:
    """Choose forms as the table of operations asks, every tensor on its own."""
    (graph,) = read_model(observed.content).subgraphs
    storages: dict[tuple[int, int], Storage] = {}
    reads: dict[tuple[int, int, int], Storage] = {}
    for tensor in graph.inputs:
        storages[0, tensor] = storage_for(observed.values[tensor], dtype)
    for operation in graph.operations:
        entry = operations.support(operation.name)
        data = operation.inputs[entry.data]
        outputs = [storage_for(observed.values[i], dtype) for i in operation.outputs]
        if entry.output == "same":
            fed = [i for i in operation.inputs if (0, i) in storages]
            if len(fed) == 1:
                outputs = [storages[0, fed[0]]]
            for position, tensor in enumerate(operation.inputs):
                if tensor in fed and len(fed) > 1:
                    reads[0, operation.index, position] = outputs[0]
        elif entry.output == "fixed":
            outputs = [Storage(dtype, *((value,) for value in entry.fixed[dtype]))]
        if entry.kernel is not None:
            values = observed.values[operation.inputs[entry.kernel]][0]
            kernel = weights_storage(values, weights, entry.channel_axis)
            storages[0, operation.inputs[entry.kernel]] = kernel
            bias = operation.inputs[entry.bias]
            scales = np.float32(storages[0, data].scales[0]) * np.float32(kernel.scales)
            form = Storage(entry.biases[dtype][0], scales, np.zeros(scales.size, int))
            storages[0, bias] = constant(form, observed.values[bias][0])
        for tensor, storage in zip(operation.outputs, outputs, strict=True):
            storages[0, tensor] = storage
    return Filling(storages, reads)


def _errors(observed: Observed, filling: Filling, dtype: str, kernels) -> np.ndarray:
    """Run a filled model on the examples; return how far its results are from float."""
    editor = Editor(observed.content)
    fill(editor, filling, dtype, dtype)
    content = editor.packed()
    (graph,) = read_model(content).subgraphs
    found = []
    for example in observed.examples:
        form = filling.storages[0, graph.inputs[0]]
        (result,) = run(content, [quantized(example, form)], kernels)
        found.append(real(result, filling.storages[0, graph.outputs[0]]))
    return np.abs(np.concatenate(found) - observed.results)


@pytest.mark.parametrize(
    ("dtype", "weights", "kernels", "mean", "largest"),
    [
        *(("INT8", "INT8", kernels, 0.002, 0.008) for kernels in KERNELS),
        *(("INT16", "INT8", kernels, 0.0006, 0.003) for kernels in KERNELS),
        # The reference kernels have no 4-bit DEPTHWISE_CONV_2D.
        *(("INT8", "INT4", kernels, 0.008, 0.02) for kernels in DEFAULT_KERNELS),
    ],
)
def test_a_network_of_integers(network, dtype, weights, kernels, mean, largest):
    errors = _errors(network, _planned(network, dtype, weights), dtype, kernels)
    assert errors.mean() < mean
    assert errors.max() < largest


def test_a_network_keeps_its_operations_and_shrinks(network):
    editor = Editor(network.content)
    fill(editor, _planned(network, "INT8", "INT8"))
    content = editor.packed()
    before = [op.name for op in read_model(network.content).subgraphs[0].operations]
    after = [op.name for op in read_model(content).subgraphs[0].operations]
    assert [name for name in after if name != "QUANTIZE"] == before
    # The two parts of the concatenation, each from a scale of its own.
    assert after.count("QUANTIZE") == 2
    constants = [
        sum(len(buffer) for buffer in read_model(each).buffers)
        for each in (content, network.content)
    ]
    assert constants[0] < constants[1] / 2


def _weights_only(observed: Observed, make) -> Filling:
    (graph,) = read_model(observed.content).subgraphs
    storages, reads = {}, {}
    for operation in graph.operations:
        entry = operations.support(operation.name)
        if entry.kernel is not None:
            tensor = operation.inputs[entry.kernel]
            storages[0, tensor], read = make(observed.values[tensor][0], entry)
            if read is not None:
                reads[0, operation.index, entry.kernel] = read
    return Filling(storages, reads)


@pytest.mark.parametrize(
    ("make", "tolerance"),
    [
        (lambda values, entry: (weights_storage(values, "INT8", entry.channel_axis), None), 0.01),
        (lambda values, _: (Storage("FLOAT16", values=values), Storage("FLOAT32")), 0.001),
    ],
    ids=["dynamic", "float16"],
)
def test_a_network_of_small_weights(network, make, tolerance):
    editor = Editor(network.content)
    fill(editor, _weights_only(network, make))
    content = editor.packed()
    for kernels in DEFAULT_KERNELS:
        found = [run(content, [example], kernels)[0] for example in network.examples]
        assert np.abs(np.concatenate(found) - network.results).max() < tolerance


@pytest.fixture(scope="module")
def recurrent() -> Observed:
    keras.utils.set_random_seed(1)
    lstm = keras.layers.LSTM(7, return_sequences=True, bias_initializer="normal")
    random = np.random.default_rng(1)
    examples = [random.normal(size=(1, 6, 5)).astype(np.float32) for _ in range(16)]
    return _observe(keras.Sequential([keras.Input((6, 5)), lstm]), examples)


def _recurrent_constants(observed: Observed):
    """Return the fused operation, and its weights and biases by input position."""
    source = read_model(observed.content)
    (graph,) = source.subgraphs
    (lstm,) = graph.operations
    assert lstm.name == FUSED_LSTM
    constants = {
        position: constant_value(source, graph.tensors[tensor])
        for position, tensor in enumerate(lstm.inputs)
        if tensor >= 0 and graph.tensors[tensor].constant
    }
    return lstm, constants


def _recurrent_filling(observed: Observed, data: Storage, output: Storage) -> Filling:
    lstm, constants = _recurrent_constants(observed)
    cell = Storage("INT16", (2.0**-14,), (0,))
    forms = {0: data, HIDDEN_STATE: output, CELL_STATE: cell}
    storages = {(0, lstm.inputs[position]): form for position, form in forms.items()}
    reads = {
        (0, 0, position): weights_storage(constants[position], "INT8", None)
        for position in (*INPUT_WEIGHTS, *STATE_WEIGHTS)
    }
    for position, kernel in zip(BIASES, INPUT_WEIGHTS, strict=True):
        scale = np.float32(data.scales[0]) * np.float32(reads[0, 0, kernel].scales[0])
        # Gates share a constant of the float file, but not its scale.
        reads[0, 0, position] = constant(Storage("INT32", (scale,), (0,)), constants[position])
    storages[0, lstm.outputs[0]] = output
    return Filling(storages, reads, intermediates={(0, 0): inner_storages(output)})


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_fused_lstm_of_integers(recurrent, kernels):
    output = storage_for([recurrent.results], "INT8")
    filling = _recurrent_filling(recurrent, storage_for(recurrent.examples, "INT8"), output)
    errors = _errors(recurrent, filling, "INT8", kernels)
    assert errors.max() < 2 * output.scales[0]
    assert errors.mean() < 0.5 * output.scales[0]


def test_a_fused_lstm_has_its_types_and_inner_tensors(recurrent):
    output = storage_for([recurrent.results], "INT8")
    filling = _recurrent_filling(recurrent, storage_for(recurrent.examples, "INT8"), output)
    editor = Editor(recurrent.content)
    fill(editor, filling)
    (graph,) = read_model(editor.packed()).subgraphs
    (lstm,) = graph.operations
    types = {position: graph.tensors[i].dtype for position, i in enumerate(lstm.inputs) if i >= 0}
    assert {types[position] for position in range(9)} == {"INT8"}
    assert [types[position] for position in (12, 13, 14, 15, 18, 19)] == [
        *["INT32"] * 4,
        "INT8",
        "INT16",
    ]
    # The biases of three gates are one constant of zeros in the float file.
    assert len({lstm.inputs[position] for position in (12, 14, 15)}) == 3
    inner = [graph.tensors[i] for i in lstm.intermediates]
    assert [tensor.dtype for tensor in inner] == ["INT16"] * 4 + ["INT8"]
    assert inner[4].quantization == graph.tensors[lstm.outputs[0]].quantization


def test_a_fused_lstm_has_no_kernel_of_16_bits(recurrent):
    assert not operations.runs_with(FUSED_LSTM, "INT16")
    output = storage_for([recurrent.results], "INT16")
    filling = _recurrent_filling(recurrent, storage_for(recurrent.examples, "INT16"), output)
    answer = in_child(lambda: float(_errors(recurrent, filling, "INT16", PLAIN).max()))
    assert isinstance(answer, str) or answer > 0.1


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_fused_lstm_of_integer_weights(recurrent, kernels):
    lstm, constants = _recurrent_constants(recurrent)
    storages = {
        (0, lstm.inputs[position]): weights_storage(constants[position], "INT8", None)
        for position in (*INPUT_WEIGHTS, *STATE_WEIGHTS)
    }
    editor = Editor(recurrent.content)
    fill(editor, Filling(storages))
    content = editor.packed()
    (operation,) = read_model(content).subgraphs[0].operations
    assert operation.version == 3
    assert operation.options["asymmetric_quantize_inputs"] is True
    found = [run(content, [example], kernels)[0] for example in recurrent.examples]
    assert np.abs(np.concatenate(found) - recurrent.results).max() < 0.01
