"""What Arm's compiler makes of the zoo."""

import statistics

from .goals import Goal, table

TITLE = "Ethos-U on the zoo"
PARTS = ("vela_zoo",)
ABOUT = (
    "Every architecture of the zoo with random weights, exported as int8 after training and judged "
    "by Arm's Vela for the Ethos-U55 with 128 multipliers: `check_target`, start of the compiler "
    "included."
)
MOST_SECONDS = 5.0


def goals(found):
    """Return that no verdict takes longer than the limit."""
    times = [row["figures"]["verdict_s"] for row in found.get(PARTS[0], []) if "figures" in row]
    if not times:
        return []
    slow = sum(each >= MOST_SECONDS for each in times)
    spread = f"median {statistics.median(times):.1f} s, slowest {max(times):.1f} s"
    return [
        Goal(
            f"verdicts that take {MOST_SECONDS:g} s or more",
            "none",
            f"{slow} of {len(times)}",
            spread,
            not slow,
        )
    ]


def lines(found):
    """Return a table with an architecture a row."""
    return table(
        ["architecture", "on the NPU", "on the CPU", "cycles", "verdict, s"],
        [[row["model"].replace("_", " "), *_cells(row)] for row in found[PARTS[0]]],
    )


def _cells(row):
    figures = row.get("figures")
    if figures is None:
        return ["", "", "", row.get("error", row.get("left_out", ""))]
    if "refused" in figures:
        return ["", "", "", f"refused: {figures['refused']}"]
    return [
        figures["on_npu"],
        figures["on_cpu"],
        f"{figures['cycles']:,.0f}",
        f"{figures['verdict_s']:.1f}",
    ]
