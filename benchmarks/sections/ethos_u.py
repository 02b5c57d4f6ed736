"""What zeros and shared weights are worth on an Arm Ethos-U NPU."""

from .goals import Goal, table

TITLE = "Ethos-U"
PARTS = ("ethos_u",)
ABOUT = (
    "MobileNetV1-0.25 for 96x96 images with its initial weights, exported as int8 and compiled by "
    "Arm's Vela: flash for encoded weights and commands, on-chip memory for tensors, and cycles of "
    "one inference as Vela estimates them."
)
DENSE = "dense"


def goals(found):
    """Return that every smaller model needs less flash and fewer cycles than the dense one."""
    rows = found.get(PARTS[0], [])
    dense = {row["target"]: row for row in rows if row["model"] == DENSE}
    return [
        Goal(
            f"{what}, {row['model']}, {row['target']}",
            "below dense",
            f"{row[what] / dense[row['target']][what]:.2f}x",
            "",
            row[what] < dense[row["target"]][what],
        )
        for row in rows
        if row["model"] != DENSE
        for what in ("flash", "cycles")
    ]


def lines(found):
    """Return the table."""
    columns = ["model", "target", "flash, bytes", "SRAM, bytes", "cycles", "operations on the CPU"]
    return table(
        columns,
        [
            [
                row["model"],
                row["target"],
                *(f"{row[what]:,}" for what in ("flash", "sram", "cycles")),
                row["left_on_cpu"],
            ]
            for row in found[PARTS[0]]
        ],
    )
