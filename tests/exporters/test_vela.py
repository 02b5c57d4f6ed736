import dataclasses
import pathlib

import keras
import numpy as np
import pytest
import toy_files

from exporters import check_target, export_tflite
from tfcompress.targets import load_target, vela
from tfcompress.targets.vela import CompilerError, compile_for_npu, refusals_of
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import FlatbufferError

U55 = load_target("ethos-u55-128")


def dense_net(kernel):
    """One dense layer of 256 inputs with this kernel."""
    model = keras.Sequential([keras.Input((256,)), keras.layers.Dense(256, use_bias=False)])
    model.layers[0].set_weights([kernel])
    return model


def flash_of(kernel, path):
    samples = np.random.default_rng(1).normal(size=(32, 256)).astype("float32")
    export_tflite(dense_net(kernel), path, "int8", representative_data=samples)
    return compile_for_npu(path, U55)


@pytest.mark.parametrize("target", ["ethos-u55-128", "ethos-u65-256", "ethos-u85"])
def test_an_int8_file_runs_on_the_npu_alone(target):
    verdict = check_target(toy_files.content("int8"), target)
    assert verdict.ok
    assert verdict.left_on_cpu == {}
    assert verdict.compiled.operations == len(
        read_model(toy_files.content("int8")).subgraphs[0].operations
    )
    assert verdict.compiled.cycles > 0
    assert verdict.compiled.flash >= verdict.compiled.encoded_weights > 0
    # Cycles and seconds are of one clock.
    clock = verdict.compiled.cycles / verdict.compiled.seconds
    assert round(clock / 1e6) in (500, 1000)


def test_the_compiled_file_has_one_operation_for_the_npu():
    compiled = compile_for_npu(toy_files.content("int8"), U55)
    operations = read_model(compiled.content).subgraphs[0].operations
    assert [operation.label for operation in operations] == ["CUSTOM:ethos-u"]


def test_float_operations_stay_on_the_cpu_by_name_and_reason():
    verdict = check_target(toy_files.content("float32"), "ethos-u55-128")
    assert not verdict.ok
    count = len(read_model(toy_files.content("float32")).subgraphs[0].operations)
    assert sum(verdict.left_on_cpu.values()) == len(verdict.compiled.left_on_cpu) == count
    assert "layer 'stem_1'" in verdict.reasons[0]
    assert "unsupported DataType Float32" in verdict.reasons[0]


def test_zeros_and_repeated_weights_need_less_flash(tmp_path):
    kernel = np.random.default_rng(0).normal(size=(256, 256)).astype("float32")
    dense = flash_of(kernel, tmp_path / "dense.tflite")
    pruned = np.where(np.abs(kernel) < np.quantile(np.abs(kernel), 0.75), 0, kernel)
    sparse = flash_of(pruned, tmp_path / "sparse.tflite")
    levels = np.linspace(-3, 3, 16, dtype="float32")
    clustered = levels[np.abs(kernel[..., None] - levels).argmin(-1)]
    few = flash_of(clustered, tmp_path / "clustered.tflite")
    assert dense.dense_weights == sparse.dense_weights == few.dense_weights == 256 * 256
    assert sparse.flash < 0.5 * dense.flash
    assert few.flash < 0.75 * dense.flash
    assert sparse.cycles < dense.cycles


def test_reasons_are_read_line_by_line():
    said = (
        "\nWarning (supported operators) operator: ADD, ofm: 'toy/add'\n"
        "Reason: It has type Float32 (x)\nTypes must be INT8\n"
        "\nWarning (supported operators) operator: LSTM, ofm: 'it''s'\nReason: Unsupported\n\n"
        "Network summary\n"
    )
    assert refusals_of(said) == {
        "toy/add": "It has type Float32 (x); Types must be INT8",
        "it''s": "Unsupported",
    }


def test_a_verdict_from_the_compiler_is_json_without_files():
    report = check_target(toy_files.content("int8"), "ethos-u55-128").to_json()
    assert "content" not in report["compiled"]
    assert report["compiled"]["accelerator"] == "ethos-u55-128"


def test_without_the_compiler_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(vela.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="the extra 'ethos-u': pip install"):
        check_target(toy_files.content("int8"), "ethos-u55-128")
    path = tmp_path / "toy.tflite"
    with pytest.raises(ImportError, match="the extra 'ethos-u': pip install"):
        export_tflite(toy_files.model(), path, "float32", target="ethos-u55-128")
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_that_the_compiler_lacks_is_its_error():
    compiler = dataclasses.replace(U55.compiler, system_config="Ethos_U99")
    board = dataclasses.replace(U55, compiler=compiler)
    with pytest.raises(CompilerError, match="Vela does not take the file"):
        compile_for_npu(toy_files.content("int8"), board)
    verdict = check_target(toy_files.content("int8"), board)
    assert not verdict.ok
    assert verdict.compiled is None
    assert "Ethos_U99" in verdict.reasons[0]


def test_damaged_bytes_do_not_reach_the_compiler(tmp_path):
    broken = pathlib.Path(tmp_path, "broken.tflite")
    broken.write_bytes(toy_files.content("int8")[:200])
    with pytest.raises(FlatbufferError):
        check_target(broken, "ethos-u55-128")
