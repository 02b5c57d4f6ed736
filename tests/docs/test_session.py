"""docs/session.md shows what the commands print: ``python tests/docs/test_session.py`` writes it.

The test allows for other numbers, and for what follows from them: faster or slower, lost or gained.
"""

import difflib
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "session.md"
# A command, which may go on after a backslash, and what it prints.
BLOCK = re.compile(
    r"^```console\n\$ tfcompress ((?:[^\n]*\\\n)*[^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
COMMAND = [sys.executable, "-c", "from tfcompress.cli.entry import main; main()"]
COLUMNS = "110"
VARYING = (
    (r" \([\d.]+% by a tie\)", ""),
    (r"[-+\u2212]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?", "1"),
    (r"\b(faster|slower|smaller|larger)\b", "faster"),
    (r"\b(lost|gained)\b", "lost"),
    (r"misses accuracy_drop|within the budget", "within the budget"),  # of a short training
    (r"\bno accuracy lost\b", "1 points of accuracy lost"),
    (r"[\u2500-\u257f]+", "-"),
    (r"[ \t]+", " "),
)


def prepare(folder):
    """Write photos of hands that show a digit, and a small classifier of them."""
    import keras
    import tensorflow as tf
    from keras import layers

    from tfcompress.datasets import sign_digits

    parts = sign_digits.load_data()
    for name, (photos, labels) in zip(("photos", "held_out"), parts, strict=True):
        for number, (photo, label) in enumerate(zip(photos, labels, strict=True)):
            path = folder / name / f"digit_{label}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tf.io.encode_jpeg(photo, quality=95).numpy())
    keras.utils.set_random_seed(1)
    photos, labels = parts[0]
    model = keras.Sequential([keras.Input((64, 64, 3)), layers.Rescaling(1 / 127.5, offset=-1)])
    for filters in (8, 16, 32):
        model.add(layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False))
        model.add(layers.BatchNormalization(momentum=0.9))
        model.add(layers.ReLU())
    model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dense(10, activation="softmax"))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(photos.astype("float32"), labels, epochs=8, verbose=0)
    model.save(folder / "model.keras")


def printed(command, folder):
    """Return what a command prints, on both streams."""
    environment = {**os.environ, "COLUMNS": COLUMNS, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    arguments = shlex.split(command.replace("\\\n", " "))
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def masked(text):
    for pattern, put in VARYING:
        text = re.sub(pattern, put, text)
    return [line.strip() for line in text.splitlines()]


@pytest.mark.pages
@pytest.mark.process
def test_the_page_shows_what_the_commands_print(tmp_path):
    prepare(tmp_path)
    for command, shown in BLOCK.findall(PAGE.read_text("utf-8")):
        found = printed(command, tmp_path)
        changes = difflib.unified_diff(masked(shown), masked(found), "the page", command, n=0)
        assert not list(changes), found


def test_numbers_may_differ_and_words_may_not():
    page = "a.tflite: 98.5% same class (1.5% by a tie), 1.2x faster, 0.24 points of accuracy lost"
    run = "a.tflite: 9%  same class, 2.0x slower, no accuracy lost"
    assert masked(page) == masked(run)
    assert masked(page) != masked(page.replace("class", "classes"))


def write_page():
    """Put what the commands print now into the page."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        prepare(folder)

        def run(match):
            return f"```console\n$ tfcompress {match[1]}\n{printed(match[1], folder)}```"

        PAGE.write_text(BLOCK.sub(run, PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    write_page()
