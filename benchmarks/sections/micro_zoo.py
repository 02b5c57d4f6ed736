"""Networks of the zoo, byte by byte in TFLite Micro's interpreter."""

from .goals import Goal, table

TITLE = "TFLite Micro"
PARTS = ("micro_zoo",)
ABOUT = (
    "Convolutional networks of the zoo with random weights, trained for two steps with "
    '`Scheme(kernels="micro")`, exported, and run on 32 inputs by the interpreter of the package '
    "tflite-micro on this computer. The arena is the smallest that it takes, to 1 KiB, with "
    "pointers of 64 bits. A file with an operation that it has no kernel for is refused when it "
    "is loaded."
)
WANTED = 20


def goals(found):
    """Return that so many networks are equal in every byte, and that none differs."""
    ran = [row for row in found.get(PARTS[0], []) if "differing" in row]
    if not ran:
        return []
    equal = sum(not row["differing"] for row in ran)
    named = ", ".join(row["model"] for row in ran if row["differing"])
    reached = equal >= WANTED and equal == len(ran)
    what = "networks whose every byte is the Keras model's"
    return [Goal(what, f"{WANTED}, and all", f"{equal} of {len(ran)}", named, reached)]


def lines(found):
    """Return the table."""
    rows = found[PARTS[0]]
    return table(
        ["network", "operations", "bytes", "arena, bytes", "values", "differ"],
        [[row["model"].replace("_", " "), *_figures(row)] for row in rows],
    )


def _figures(row):
    if "refused" in row:
        return ["", "", "", "", f"refused: {row['refused']}"]
    counts = (f"{row[key]:,}" for key in ("operations", "bytes", "arena", "values"))
    return [*counts, row["differing"]]
