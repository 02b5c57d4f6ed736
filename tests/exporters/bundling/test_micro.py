"""The C++ code of a bundle."""

import shutil
import subprocess

import pytest

from exporters.bundle_code import c_header, micro_snippet, resolver_name

# As much of the library as the code needs to be checked by a compiler.
LIBRARY = """
#include <cstdint>
enum TfLiteStatus { kTfLiteOk, kTfLiteError };
struct TfLiteTensor;
template <typename... Values> void MicroPrintf(const char*, Values...) {}
namespace tflite {
struct Model;
const Model* GetModel(const void*);
template <unsigned count> struct MicroMutableOpResolver {
  TfLiteStatus AddConv2D();
  TfLiteStatus AddFullyConnected();
  TfLiteStatus AddUnidirectionalSequenceLSTM();
};
struct MicroInterpreter {
  template <typename Resolver>
  MicroInterpreter(const Model*, const Resolver&, uint8_t*, unsigned long);
  TfLiteStatus AllocateTensors();
  TfLiteStatus Invoke();
  TfLiteStatus Reset();
  TfLiteTensor* input(int);
  const TfLiteTensor* output(int);
};
}
"""
HEADERS = ("micro/micro_interpreter", "micro/micro_log", "micro/micro_mutable_op_resolver")


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        ("CONV_2D", "Conv2D"),
        ("DEPTHWISE_CONV_2D", "DepthwiseConv2D"),
        ("MAX_POOL_2D", "MaxPool2D"),
        ("RELU6", "Relu6"),
        ("L2_NORMALIZATION", "L2Normalization"),
        ("SPACE_TO_BATCH_ND", "SpaceToBatchNd"),
        ("BATCH_MATMUL", "BatchMatMul"),
        ("PADV2", "PadV2"),
        ("SPLIT_V", "SplitV"),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", "UnidirectionalSequenceLSTM"),
    ],
)
def test_operations_have_the_names_of_the_resolver(operation, name):
    assert resolver_name(operation) == name


def test_it_registers_what_the_file_has_once():
    code = micro_snippet(["CONV_2D", "FULLY_CONNECTED", "CONV_2D"])
    assert code.count("resolver.Add") == 2
    assert "MicroMutableOpResolver<2>" in code
    assert "Reset" not in code


@pytest.mark.process
def test_it_compiles(tmp_path):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs a C++ compiler, g++")
    for header in (*HEADERS, "schema/schema_generated"):
        path = tmp_path / "tensorflow" / "lite" / f"{header}.h"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#pragma once\n" + (LIBRARY if header == HEADERS[0] else ""))
    (tmp_path / "model_data.h").write_text(c_header(1000, 2000))
    operations = ["CONV_2D", "FULLY_CONNECTED", "UNIDIRECTIONAL_SEQUENCE_LSTM"]
    (tmp_path / "inference.cc").write_text(micro_snippet(operations, keeps_state=True))
    command = [compiler, "-std=c++17", "-Wall", "-Werror", "-fsyntax-only", "-I."]
    answer = subprocess.run(
        [*command, "inference.cc"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
