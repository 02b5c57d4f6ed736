"""The parts of a run of all benchmarks: which script with which arguments."""

import dataclasses
import pathlib

from timed_models import MODELS

BENCHMARKS = pathlib.Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Part:
    """A benchmark of the run.

    In the arguments "{json}" is the file of its figures, "{rows}" the file of JSON lines in which
    it keeps finished work, "{folder}" a folder for what else it keeps. A part without "{json}"
    has its figures in the rows.

    Attributes:
        script: its file in benchmarks/.
        arguments: of the whole measurement.
        fast: added to the arguments for the quick one; None where there is no quick one.
    """

    script: str
    arguments: tuple[str, ...]
    fast: tuple[str, ...] | None = ("--fast",)

    def command(self, fast, folder, name):
        """Return the arguments after the interpreter, as shown and run from the project."""
        places = {
            "json": folder / f"{name}.json",
            "rows": folder / f"{name}.rows.jsonl",
            "folder": folder,
        }
        arguments = [a.format(**places) for a in self.arguments + (self.fast if fast else ())]
        return [f"benchmarks/{self.script}", *arguments]

    @property
    def figures(self):
        """The end of the name of the file that holds the figures."""
        return ".json" if "{json}" in self.arguments else ".rows.jsonl"


def _training_cost(model):
    return Part("training_cost.py", ("--model", model, "--json", "{json}"), _FAST_COST.get(model))


_FAST_COST = dict.fromkeys(("MobileNetV2-0.35", "DS-CNN"), ("--fast",))
_ROWS_AND_JSON = ("--rows", "{rows}", "--json", "{json}")

_ACCURACY = {
    "pruning": ("cifar", "signs", "mnist"),
    "quantization": ("cifar", "signs", "mnist", "spoken"),
    "distillation": ("signs", "spoken"),
}

PARTS = {
    f"training_cost_{model.lower().replace('-', '_').replace('.', '')}": _training_cost(model)
    for model in MODELS
}
PARTS |= {
    f"{what}_accuracy_{data}": Part(f"{what}_accuracy.py", ("--only", data, *_ROWS_AND_JSON), None)
    for what, names in _ACCURACY.items()
    for data in names
}
PARTS |= {
    "export_time": Part("export_time.py", _ROWS_AND_JSON),
    "growth": Part("growth.py", _ROWS_AND_JSON),
    "distillation_step": Part(
        "distillation_step.py", ("--json", "{json}"), ("--rounds", "5", "--steps", "10")
    ),
    "probability_heads": Part("probability_heads.py", _ROWS_AND_JSON),
    "combinations": Part("compression_combinations.py", _ROWS_AND_JSON, None),
    "quantization_fidelity": Part(
        "quantization_fidelity.py",
        _ROWS_AND_JSON,
        ("--fast", "--models", "sign net"),
    ),
    "coverage_matrix": Part("coverage_matrix.py", _ROWS_AND_JSON, None),
    "zoo_coverage": Part("zoo_coverage.py", _ROWS_AND_JSON, None),
    "quantization_coverage": Part("quantization_coverage.py", ("--json", "{json}"), None),
    "structure_exactness": Part("structure.py", ("exactness", "--json", "{rows}"), None),
    "structure_accuracy": Part(
        "structure.py", ("accuracy", "--json", "{rows}", "--folder", "{folder}"), None
    ),
    "structure_latency": Part("structure.py", ("latency", "--json", "{rows}"), None),
    "arm_kernels": Part("arm_kernels.py", ("--json", "{json}"), None),
    "ethos_u": Part("ethos_u.py", ("--json", "{json}"), ()),
    "vela_zoo": Part("vela_zoo.py", _ROWS_AND_JSON, None),
    "encoded_weights": Part("encoded_weights.py", ("--json", "{json}"), ()),
    "micro_zoo": Part("micro_zoo.py", _ROWS_AND_JSON, None),
    "each_backend": Part("each_backend.py", _ROWS_AND_JSON),
    "pruning_after_training": Part("pruning_after_training.py", _ROWS_AND_JSON),
    "repair": Part("repair.py", ("../shared", "--json", "{json}"), ("--only", "ad")),
}
