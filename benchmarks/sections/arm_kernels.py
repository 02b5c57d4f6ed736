"""LiteRT's kernels on ARM beside those on x86."""

from .goals import table

TITLE = "LiteRT on ARM"
PARTS = ("arm_kernels",)
ABOUT = (
    "Random files of every operation, in every form, run by ai-edge-litert for 64-bit ARM on an "
    "emulated Cortex-A72 and compared with our arithmetic, which on x86 is that of XNNPACK and of "
    "the reference kernels. The table has the forms of which any value differs; all others are "
    "equal in every value. A processor with other instructions may have other kernels."
)
# The kernels that ran on ARM, and the arithmetic that they are compared with.
COMPARED = (
    "xnnpack on ARM, xnnpack arithmetic",
    "xnnpack on ARM, reference arithmetic",
    "reference on ARM, reference arithmetic",
)


def goals(_found):
    """Return nothing: the figures say what is, the processors are not ours."""
    return []


def lines(found):
    """Return how many forms are equal, and a table of the others."""
    rows = found[PARTS[0]]
    differing = [row for row in rows if any(row.get(name) for name in (COMPARED[0], COMPARED[2]))]
    files, values = (sum(row[key] for row in rows) for key in ("files", "values"))
    refused = sum(row["refused"] for row in rows)
    return [
        f"{len(rows) - len(differing)} of {len(rows)} forms are equal in every value, of "
        f"{files:,} files and {values:,} values; {refused} files were refused. Values that differ:",
        "",
        *table(
            ["operation", "values", *COMPARED],
            [
                [
                    row["name"],
                    f"{row['values']:,}",
                    *(f"{row[name]:,}" if name in row else "no kernel" for name in COMPARED),
                ]
                for row in differing
            ],
        ),
    ]
