import os
import subprocess
import sys

import pytest

from tfcompress.native_output import silenced_error_stream

_WRITERS = """
import os, sys
from tfcompress.native_output import {name}
with {name}(*{arguments}):
    os.write(2, b"native\\n")
    print("python", file=sys.stderr)
    stream = sys.stderr
os.write(2, b"after\\n")
print("late", file=stream)  # as a logger of a library does that was set up meanwhile
"""


def written(name, *arguments):
    code = _WRITERS.format(name=name, arguments=arguments)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stderr.split()


def test_a_command_keeps_native_code_in_a_log_and_python_on_the_terminal(tmp_path):
    log = tmp_path / "log"
    assert written("diverted_native_output", str(log)) == ["python", "after", "late"]
    assert log.read_text() == "native\n"


def test_a_silenced_stream_is_back_afterwards():
    assert written("silenced_error_stream") == ["after", "late"]


def test_no_descriptor_is_left_open():
    before = os.dup(2)
    os.close(before)
    for _ in range(20):
        with silenced_error_stream():
            pass
    after = os.dup(2)
    os.close(after)
    assert after == before


def test_a_process_without_an_error_stream_works():
    code = (
        "import os; os.close(2)\n"
        "from tfcompress.native_output import silenced_error_stream\n"
        "with silenced_error_stream(): print('done')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "done\n"


_EXPORTS = """
import os, sys
import keras, numpy as np
from keras import layers
from exporters import export_tflite

x = np.random.default_rng(0).normal(size=(24, 8, 8, 3)).astype("float32")
model = keras.Sequential(
    [keras.Input((8, 8, 3)), layers.RandomZoom(0.1), layers.SeparableConv2D(4, 3, use_bias=False)]
    + [layers.BatchNormalization(), layers.ReLU(), layers.GlobalAveragePooling2D()]
    + [layers.Dense(4, activation="softmax")]
)
print("begins", file=sys.stderr, flush=True)
export_tflite(model, sys.argv[1], representative_data=x, progress=False)
os.write(2, b"ends\\n")
"""


@pytest.mark.process
def test_an_export_says_nothing_that_its_user_did_not_ask_for(tmp_path):
    environment = {name: value for name, value in os.environ.items() if "TF_CPP" not in name}
    run = subprocess.run(
        [sys.executable, "-c", _EXPORTS, tmp_path / "model.tflite"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert run.stderr.partition("begins\n")[2] == "ends\n"
