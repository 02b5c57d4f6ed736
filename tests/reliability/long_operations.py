"""What takes long and writes, at the size of seconds: of the command line, and of the library."""

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import pathlib
import zipfile
from collections.abc import Callable

import keras
import numpy as np

import tfcompress as tfc
from exporters import export_tflite
from tfcompress.cli import quickstart as quickstart_module
from tfcompress.cli.main import run as run_command
from tfcompress.datasets import sign_digits

MODEL, DATA, INT8, FLOAT = "model.keras", "data.npz", "int8.tflite", "float.tflite"
LAST_VERSION = b"the last version"


@dataclasses.dataclass(frozen=True)
class Operation:
    """Something long.

    Attributes:
        name: what it is called.
        run: does it in a folder; returns an exit code.
        command: whether it is one of the command line, which takes SIGTERM as well.
        exact: whether its files are the same each time, but for dates.
        resumes: whether a call goes on where the last one was ended, from files of its own.
        replaces: files that may be there before.
    """

    name: str
    run: Callable[[pathlib.Path], int]
    command: bool = True
    exact: bool = True
    resumes: bool = False
    replaces: tuple[str, ...] = ()

    def put_last_version(self, place: pathlib.Path) -> None:
        """Put files of an earlier run where this one is going to replace them."""
        for name in self.replaces:
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_bytes(LAST_VERSION)


def prepare(base: pathlib.Path) -> None:
    """Write the model, data and files that the operations begin with."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(8, 3, activation="relu", name="first")(inputs)
    x = keras.layers.Conv2D(8, 3, activation="relu", name="second")(x)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(x), name="small")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=False)
    generator = np.random.default_rng(0)
    x, y = generator.random((96, 8, 8, 3), dtype="float32"), generator.integers(0, 3, 96)
    model.fit(x, y, verbose=0)
    model.save(base / MODEL)
    np.savez(base / DATA, x=x, y=y)
    export_tflite(model, base / INT8, "int8", representative_data=x)
    export_tflite(model, base / FLOAT, "float32", validation_data=x)


def all_operations(base: pathlib.Path) -> dict[str, Operation]:
    """Return the operations on what was prepared in a folder, by name."""

    @functools.cache
    def data():
        with np.load(base / DATA) as file:
            return file["x"], file["y"]

    @functools.cache
    def model():
        return keras.saving.load_model(base / MODEL)

    def digest():
        return hashlib.sha256(b"".join(w.tobytes() for w in model().get_weights())).hexdigest()

    def command(name, line, **facts):
        line = f"{name} {line}"
        return Operation(name, lambda place: _exit_code(line.format(b=base, p=place)), **facts)

    def library(name, work, **facts):
        def run(place):
            before = digest()
            try:
                work(place)
            finally:
                if digest() != before:
                    raise RuntimeError(f"{name} has changed the model that it was given")
            return 0

        return Operation(name, run, command=False, **facts)

    def iterate(place):
        settings = {"epochs": 2, "batch_size": 16, "verbose": 0, "shuffle": False}
        tfc.prune_iteratively(
            model(), *data(), rounds=3, folder=place / "rounds", target_macs=0.5,
            fit=settings, progress=lambda done: None,
        )  # fmt: skip

    pages = tuple(f"report/report.{kind}" for kind in ("json", "md", "html"))
    given = "--data {b}/data.npz"
    found = [
        command(
            "export",
            f"{{b}}/{MODEL} --out {{p}}/model.tflite {given} --json",
            replaces=("model.tflite",),
        ),
        command("validate", f"{{b}}/{INT8} --against {{b}}/{MODEL} {given} --json"),
        command("benchmark", f"{{b}}/{INT8} {{b}}/{FLOAT} --runs 200 --json"),
        command("bundle", f"{{b}}/{INT8} --out {{p}}/bundle {given} --json"),
        command(
            "report",
            f"{{b}}/{INT8} --baseline {{b}}/{FLOAT} {given} --out {{p}}/report --runs 50 --json",
            exact=False,
            replaces=pages,
        ),
        Operation(
            "quickstart",
            lambda place: _short_quickstart(f"quickstart --out {place}/report --json"),
            exact=False,
            replaces=pages,
        ),
        library("repair", lambda place: tfc.repair(model(), data()[0])),
        library(
            "sensitivity",
            lambda place: tfc.sensitivity(
                model(), data(), file=place / "table.jsonl", progress=False
            ),
            resumes=True,
        ),
        library("prune_iteratively", iterate, resumes=True),
        library(
            "cache_teacher",
            lambda place: tfc.cache_teacher(
                model(), data()[0], place / "cache", batch_size=2, progress=False
            ),
            resumes=True,
        ),
    ]
    return {operation.name: operation for operation in found}


def look(place: pathlib.Path) -> dict[str, object]:
    """Return what is in a folder by name, in a form that is equal where the content is.

    Hidden files are left out, as are logs.

    Raises:
        ValueError: a file is cut short.
    """
    found = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if path.is_file() and path.suffix != ".log" and "/." not in f"/{name}":
            try:
                found[name] = _value(path)
            except (ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
                raise ValueError(f"{path.name} is not whole: {error}") from error
    return found


def problems_of(operation: Operation, place: pathlib.Path, expected: dict) -> list[str]:
    """Name what is wrong with the files that an operation has left when it was ended.

    Args:
        operation: the operation.
        place: its folder.
        expected: what ``look`` found after it had come to its end.

    Returns:
        Sentences; none if each file is whole, or what it was before.
    """
    try:
        left = look(place)
    except ValueError as error:
        return [str(error)]
    found = [f"{name} is left" for name in left if name not in expected]
    if operation.resumes:
        return found
    for name in left.keys() & expected.keys():
        if operation.exact and left[name] not in (LAST_VERSION, expected[name]):
            found.append(f"{name} is another one")
    if operation.exact and left and left.keys() != expected.keys():
        found.append(f"of the files, {sorted(expected.keys() - left.keys())} are missing")
    return found


def _value(path):
    content = path.read_bytes()
    if content == LAST_VERSION:
        return content
    if path.suffix in (".json", ".jsonl"):
        return [json.loads(line) for line in _documents(path.suffix, content)]
    if path.suffix == ".npz":
        with np.load(io.BytesIO(content)) as file:
            return {name: file[name].tobytes() for name in file.files}
    if path.suffix == ".keras":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.read("config.json"), archive.read("model.weights.h5")
    if path.suffix in (".md", ".html") and not content.rstrip().endswith((b"</html>", b".", b"|")):
        raise ValueError(f"it ends with {content[-40:]!r}")
    return content


def _documents(suffix, content):
    return content.splitlines() if suffix == ".jsonl" else [content]


def _exit_code(line):
    try:
        run_command(line.split())
    except SystemExit as ended:
        return ended.code


def _short_quickstart(line):
    """Run a quickstart of few photos, few epochs and narrow networks."""
    (x_train, y_train), (x_test, y_test) = sign_digits.load_data()
    few = (x_train[::16], y_train[::16]), (x_test[::16], y_test[::16])
    changes = {
        "TEACHER_EPOCHS": 1,
        "STUDENT_EPOCHS": 1,
        "COMPRESSION_EPOCHS": 3,
        "make_teacher": functools.partial(quickstart_module.make_teacher, width=8),
        "make_student": functools.partial(quickstart_module.make_student, width=8),
    }
    with contextlib.ExitStack() as stack:
        for name, value in changes.items():
            stack.enter_context(_changed(quickstart_module, name, value))
        stack.enter_context(_changed(sign_digits, "load_data", lambda: few))
        return _exit_code(line)


@contextlib.contextmanager
def _changed(owner, name, value):
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
