"""The page of coverage, docs/coverage.md, from the records of the matrix and of whole networks."""

import textwrap

from coverage_models import ROWS
from sections.goals import table
from zoo import ZOO

# What a cell shows of its figures.
FORMS = {
    "pruning": "{sparsity:.0%}",
    "clustering": "{values}",
    "channel removal": "{left:.0%}",
    "QAT": "{within_one:.1%}",
    "PTQ int8": "{decibels:.0f} dB",
    "PTQ int16x8": "{decibels:.0f} dB",
    "PTQ 4-bit weights": "{decibels:.0f} dB",
    "export": "{bytes:,}",
    "run": "{difference:.0e}",
    "TFMOT pruning": "{sparsity:.0%}",
    "TFMOT clustering": "{values}",
    "TFMOT QAT": "{within_one:.1%}",
}
HEAD = """# Coverage

Written by `benchmarks/write_pages.py` from the records of `benchmarks/coverage_matrix.py`,
`benchmarks/zoo_coverage.py` and `benchmarks/quantization_coverage.py`; `make coverage` runs what
has no record yet.

## The matrix

Each cell is a run on a fresh model with random weights. Networks have inputs of 32 to 75 pixels and
are cut off where every kind of block has come; the last part of the page has them whole. A model
that is trained gets two steps of plain gradient descent.

- **pruning**: half of the weights to zero with `MagnitudePruning`; the share of zeros afterwards.
- **clustering**: `cluster_weights` to 8 values; the most values that a kernel has afterwards.
- **channel removal**: `remove_channels(ratio=0.5)`; the share of the weights that are left. The
  smaller model computes what the original does where the weights of the removed channels are zero.
- **QAT**: `quantize_aware` with 8 bits, trained, converted to integers alone and run; the share of
  outputs within one step of the model's.
- **PTQ**: quantized after training with the ranges of eight examples, and run on others;
  signal-to-noise ratio to the float model. With 4-bit weights (beside 8-bit activations), the file
  agrees with the model that computes with its numbers.
- **export**: `export_tflite` in float; bytes.
- **run**: that file in the LiteRT interpreter; the largest difference to the Keras model, relative
  to its largest output.
- **TFMOT**: `prune_low_magnitude`, `cluster_weights` and `quantize_model` on the same model on
  tf_keras; figures as above. What of its file stays in float is told in a note.
"""
LEGEND = """\
"no" is a failure, "-" a model that tf_keras does not have; the numbers are those of the
[notes](#notes).
"""
ZOO_CELLS = ("QAT", "PTQ int8", "pruning", "channel removal")
ZOO_HEAD = """## The zoo

Small architectures after the kinds that people publish (`benchmarks/zoo`), with random weights. The
cells are those of the matrix; wrapping and export are the seconds of `quantize_aware` and of
`export_tflite` with its evidence, on the machine of the record while others worked on it. Where
channel removal says no, the model is as large as before, and the warning says why. Plain `fit` of
the face detector ends the process too, in oneDNN; it trains with `TF_ENABLE_ONEDNN_OPTS=0`. Less
than 18 dB of PTQ is the doing of the ranges of eight examples, beyond which others lie: with the
ranges of 512, these nine models have 25 to 39 dB (graph attention with edges of 0 and 1).
"""
WHOLE = """## Quantization-aware training, whole networks

Each model is made quantization-aware with 8 bits, trained for two steps, exported, and run in the
interpreter on 32 random inputs, beside the Keras model. TFMOT: its `quantize_model` on tf_keras,
empty where it was not tried on the whole model.
"""


class Notes:
    """Reasons, numbered as they come; the same reason has the same number."""

    def __init__(self):
        self.numbers = {}

    def number(self, text):
        reason = textwrap.shorten(
            text.replace("|", "/").replace("<", "&lt;"), 260, placeholder=" ..."
        )
        return self.numbers.setdefault(reason, len(self.numbers) + 1)

    def lines(self):
        return [f"{number}. {reason}" for reason, number in self.numbers.items()]


def coverage_page(records):
    """Return the text of docs/coverage.md, of {part: record}."""
    lines = [HEAD]
    if record := records.get("coverage_matrix"):
        lines += matrix(record["figures"])
    else:
        lines += ["Not measured yet.", ""]
    if record := records.get("zoo_coverage"):
        lines += zoo(record["figures"]["rows"])
    if record := records.get("quantization_coverage"):
        lines += whole(record["figures"])
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"


def matrix(figures):
    """Return the lines of the matrix and its notes."""
    found = {(row["model"], row["cell"]): row for row in figures["rows"]}
    notes, lines = Notes(), [LEGEND]
    for cell, reason in figures["left_out"].items():
        lines += [f"{cell} is left out: {reason}.", ""]
    for group in dict.fromkeys(row.group for row in ROWS.values()):
        names = [name for name, row in ROWS.items() if row.group == group]
        lines += [f"### {group.capitalize()}"]
        rows = [[n, *(cell_text(found.get((n, c)), c, notes) for c in FORMS)] for n in names]
        lines += table(["model", *FORMS], rows)
    return [*lines, "### Notes", "", *notes.lines(), ""]


def zoo(rows):
    """Return the lines of the zoo: what each technique takes, a table for each group, the notes."""
    found = {(row["model"], row["cell"]): row for row in rows}
    notes, lines = Notes(), [ZOO_HEAD]
    counts = []
    for cell in ZOO_CELLS:
        own = [row for row in rows if row["cell"] == cell]
        counts.append(f"{cell} {sum('figures' in row for row in own)} of {len(own)}")
    lines += [f"**{', '.join(counts)}.**", ""]
    for group, models in ZOO.items():
        tried = [name for name in models if any((name, cell) in found for cell in ZOO_CELLS)]
        lines += [f"### The zoo: {group}"]
        lines += table(
            ["model", *ZOO_CELLS, "wrapping", "export"],
            [
                [
                    name.replace("_", " "),
                    *(cell_text(found.get((name, cell)), cell, notes) for cell in ZOO_CELLS),
                    *_seconds(found.get((name, "QAT"), {}).get("figures")),
                ]
                for name in tried
            ],
        )
    return [*lines, "### Notes of the zoo", "", *notes.lines(), ""]


def _seconds(figures):
    """Return how long wrapping and export took."""
    if figures is None:
        return ["", ""]
    return [f"{figures[key]:.1f} s" for key in ("wrapping_s", "export_s")]


def cell_text(row, cell, notes):
    """Return what a cell shows, and note the reason where it failed."""
    if row is None:
        return ""
    if "left_out" in row:
        return f"- ({notes.number(row['left_out'])})"
    if "error" in row:
        return f"no ({notes.number(row['error'])})"
    text = FORMS[cell].format(**row["figures"])
    if floats := row["figures"].get("float_operations"):
        text += f" ({notes.number('in float: ' + ', '.join(floats))})"
    if note := row["figures"].get("note"):
        text += f" ({notes.number(note)})"
    return text


def whole(found):
    """Return the lines of the tables of quantization-aware training of whole networks."""
    works = sum(not row["error"] for row in found.values())
    lines = [WHOLE, f"**{works} of {len(found)} models work.**", ""]
    for group in dict.fromkeys(row.group for row in ROWS.values()):
        names = [name for name, row in ROWS.items() if row.group == group and name in found]
        lines += [f"### {group.capitalize()}, whole"]
        lines += table(
            [
                "model", "TFMOT", "tfcompress", "float operations", "equal", "within 1 LSB",
                "largest", "same class", "wrapping", "export",
            ],
            [[name, OUTCOMES[ROWS[name].tfmot], *result_cells(found[name])] for name in names],
        )  # fmt: skip
    return lines


OUTCOMES = {True: "works", False: "fails", None: ""}


def result_cells(result):
    if result["error"]:
        reason = textwrap.shorten(result["error"].splitlines()[-1], 100, placeholder=" ...")
        return [f"fails: {reason}", *[""] * 7]
    same = "" if result["same_class"] is None else f"{result['same_class']:.1%}"
    return [
        "works",
        ", ".join(result["float_operations"]) or "none",
        f"{result['equal']:.1%}",
        f"{result['within_one']:.1%}",
        f"{result['largest']:.0f} LSB",
        same,
        f"{result['wrapping_s']:.1f} s",
        f"{result['export_s']:.1f} s",
    ]
