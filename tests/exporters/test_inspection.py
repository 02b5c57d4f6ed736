import json
import resource
import subprocess
import sys
import xml.etree.ElementTree as ET

import keras
import pytest
import tensorflow as tf
import toy_files

from exporters.inspection import inspect
from exporters.macs import count_macs
from tfcompress.tflite.model import FlatbufferError, Operation, Subgraph, Tensor

LAYERS = ["stem", "encoder", "encoder/depthwise", "encoder/norm", "encoder/act", "skip", "pool"]


def tensor(index, shape, constant=False):
    return Tensor(index, f"t{index}", shape, "INT8", None, constant, 0, False, shape)


def graph(*shapes):
    return Subgraph(0, "main", tuple(tensor(i, s) for i, s in enumerate(shapes)), (), (), ())


@pytest.mark.parametrize(
    ("name", "shapes", "inputs", "options", "macs"),
    [
        # 4 x 4 outputs of 8 channels, each from 3 x 3 x 2 inputs.
        ("CONV_2D", [(1, 8, 8, 2), (8, 3, 3, 2), (1, 4, 4, 8)], (0, 1), {}, 16 * 8 * 18),
        # Two groups: a kernel sees half of the channels.
        ("CONV_2D", [(1, 4, 4, 4), (8, 1, 1, 2), (1, 4, 4, 8)], (0, 1), {}, 16 * 8 * 2),
        ("DEPTHWISE_CONV_2D", [(1, 4, 4, 6), (1, 3, 3, 6), (1, 4, 4, 6)], (0, 1), {}, 96 * 9),
        ("FULLY_CONNECTED", [(1, 10), (3, 10), (1, 3)], (0, 1), {}, 30),
        # Every one of 2 x 2 x 5 inputs meets 3 x 3 weights of each of 7 outputs.
        (
            "TRANSPOSE_CONV",
            [(4,), (7, 3, 3, 5), (1, 2, 2, 5), (1, 4, 4, 7)],
            (0, 1, 2),
            {},
            20 * 63,
        ),
        ("BATCH_MATMUL", [(2, 3, 4), (2, 4, 5), (2, 3, 5)], (0, 1), {}, 30 * 4),
        ("BATCH_MATMUL", [(2, 4, 3), (2, 4, 5), (2, 3, 5)], (0, 1), {"adj_x": True}, 30 * 4),
        ("ADD", [(1, 4), (1, 4), (1, 4)], (0, 1), {}, 0),
    ],
)
def test_macs_by_hand(name, shapes, inputs, options, macs):
    operation = Operation(0, name, 1, inputs, (len(shapes) - 1,), options)
    assert count_macs(operation, graph(*shapes)) == macs


def test_lstm_macs_are_those_of_its_matrices_at_every_step(shared):
    report = inspect(shared / "models" / "edgetpu_pairs" / "keras_lstm_mnist_ptq.tflite")
    lstm = next(op for op in report.operations if "LSTM" in op.name)
    assert lstm.macs == 28 * (4 * 20 * 28 + 4 * 20 * 20)


def test_says_what_is_in_the_file():
    report = inspect(toy_files.content("int8"), layers=[*LAYERS, "head"])
    assert [op.name for op in report.operations] == [
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "ADD",
        "MEAN",
        "FULLY_CONNECTED",
    ]
    assert [op.layer for op in report.operations] == [
        "stem",
        "encoder/depthwise",
        "skip",
        "pool",
        "head",
    ]
    # Stem and head have biases; the depthwise kernel gets one from batch normalization. All are
    # zero: the converter drops the head's, and stores the other two once.
    assert [op.parameters for op in report.operations] == [8 * 27 + 8, 72 + 8, 0, 0, 40]
    assert report.parameters == 8 * 27 + 8 + 72 + 40
    assert [op.macs for op in report.operations] == [36 * 8 * 27, 36 * 8 * 9, 0, 0, 40]
    assert report.macs == 36 * 8 * 36 + 40
    assert [op.dtype for op in report.operations] == ["INT8"] * 5
    assert not any(op.float_ for op in report.operations)
    (image,) = report.inputs
    assert (image.dtype, image.shape, len(image.scales)) == ("INT8", (1, 12, 12, 3), 1)
    kernel = report.tensors[report.operations[0].inputs[1]]
    assert (len(kernel.scales), kernel.axis, kernel.size) == (8, 0, 216)
    assert report.signatures["serving_default"]["inputs"] == {"image": 0}
    assert report.min_runtime == "1.14.0"


def test_sizes_are_those_of_the_layers():
    report = inspect(toy_files.content("int8"), layers=[*LAYERS, "head"])
    # Kernels in bytes, biases in four, the axes of the mean: two int32.
    assert report.layer_sizes["stem"] == 216 + 4 * 8
    assert report.layer_sizes["encoder/depthwise"] == 72 + 4 * 8
    assert report.layer_sizes["pool"] == 8


def test_a_float_file_shows_its_float_operations():
    report = inspect(toy_files.content("float32"))
    assert all(op.float_ for op in report.operations)
    assert "(float)" in report.to_text()


def test_json_is_json_and_complete():
    report = inspect(toy_files.content("int8"))
    found = json.loads(json.dumps(report.to_json()))
    assert len(found["operations"]) == 5
    assert found["operation_counts"]["ADD"] == 1
    assert found["tensors"][0]["name"] == report.tensors[0].name


def test_text_has_a_row_for_every_operation():
    lines = inspect(toy_files.content("int8")).to_text().splitlines()
    assert lines[0].startswith("model: ")
    assert sum(" v" in line and "INT8" in line for line in lines) == 5


def test_the_picture_is_svg_with_a_box_for_every_operation():
    root = ET.fromstring(inspect(toy_files.content("int8")).to_svg())
    names = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert sum(" v" in name for name in names) == 5
    skips = [path.get("d") for path in root.iter("{http://www.w3.org/2000/svg}path")]
    assert sum(" C " in path for path in skips) == 1  # the connection around the encoder


def test_loops_show_their_bodies(shared):
    report = inspect(shared / "models" / "litert_testdata" / "nested_while.bin")
    assert {op.subgraph for op in report.operations} == {0, 1, 2, 3, 4}


def test_published_figures_of_keyword_spotting(shared):
    report = inspect(shared / "models" / "mlperf_tiny" / "kws01_dscnn_int8_reference.tflite")
    assert report.size == 53936
    assert report.macs == 2_656_768  # 2.7 million, MLPerf Tiny (Banbury et al. 2021)
    assert report.parameters == 22_604


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "half.tflite"
    path.write_bytes(toy_files.content("int8")[:2000])
    with pytest.raises(FlatbufferError, match=r"half\.tflite"):
        inspect(path)


@pytest.mark.process
def test_four_megabytes_take_less_than_a_second_start_of_process_included(tmp_path):
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(64, 3)(image)
    for _ in range(28):
        x = keras.layers.SeparableConv2D(64, 3, padding="same")(x)
    x = keras.layers.Dense(4000)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, keras.layers.Dense(200)(x))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    path = tmp_path / "large.tflite"
    path.write_bytes(converter.convert())
    assert path.stat().st_size > 4_000_000
    code = f"from exporters import inspect; inspect({str(path)!r}).to_text()"
    # Processor time, as wall time would measure what else the computer is doing.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0
