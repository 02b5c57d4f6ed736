"""What an export costs, and that it comes to the same bytes."""

import statistics

from .goals import at_most, table

TITLE = "Export"
PARTS = ("export_time",)
ABOUT = (
    "MobileNetV2-0.35 for photos at 96x96, trained quantization-aware for some steps and exported "
    "without validation data, in turns with the plain float32 conversion of the same model by "
    "`tf.lite.TFLiteConverter`. Medians over the rounds with their quartiles; ratios are those of "
    "one round. An export has loaded and run its file, and compared it with the model."
)
# Names of what is timed.
PLAIN = "plain float32 conversion"
WRAPPING = "quantize_aware"
FIRST = "export, quantization-aware, the first of a model"
AGAIN = "export, quantization-aware, again"
LOADED = "export, quantization-aware, of a saved model just loaded"
AFTER_TRAINING = "export, int8 after training"
FLOAT = "export, float32"
LARGEST_RATIO, LARGEST_GROWTH = 1.2, 20.0


def goals(found):
    """Return the limits of the cost, of its growth in one process, and of different bytes."""
    figures = found.get(PARTS[0])
    if not figures:
        return []
    result = []
    for name in (FIRST, AGAIN, LOADED):
        ratios = ratios_to_plain(figures, name)
        spread = "{:.2f} to {:.2f}".format(*quartiles(ratios))
        middle = statistics.median(ratios)
        what = f"{name}, to a plain conversion"
        result.append(at_most(what, LARGEST_RATIO, middle, "{:.2f}x", spread))
    for name, row in figures["repeated"].items():
        seconds, count = row["seconds"], len(row["seconds"])
        what = f"{name}: number {count} to the first"
        result.append(at_most(what, 1, seconds[-1] / seconds[0], "{:.2f}x"))
        grown = growth(row)
        result.append(
            at_most(f"{name}: memory after {count}, MB more", LARGEST_GROWTH, grown, "{:.0f}")
        )
    for name, hashes in figures["bytes"].items():
        what = f"{name}: different files of {len(hashes)} processes"
        result.append(at_most(what, 1, len(set(hashes)), "{}"))
    return result


def ratios_to_plain(figures, name):
    """Return the ratio of each round to its plain conversion."""
    plain = figures["turns"][PLAIN]["seconds"]
    return [a / b for a, b in zip(figures["turns"][name]["seconds"], plain, strict=True)]


def quartiles(values):
    """Return the lower and the upper quartile."""
    lower, _, upper = statistics.quantiles(values, n=4)
    return lower, upper


def growth(row):
    """Return by how many MB a process has grown since its first export."""
    return (row["memory"][-1] - row["memory"][0]) / 1e6


def lines(found):
    """Return the tables of seconds, of fifty exports and of bytes."""
    figures = found[PARTS[0]]
    return [*turns_table(figures), *repeated_table(figures), *bytes_table(figures)]


def turns_table(figures):
    """Return the lines of a table of seconds and ratios."""
    rows = []
    for name, row in figures["turns"].items():
        seconds, ratios = row["seconds"], ratios_to_plain(figures, name)
        lower, upper = quartiles(seconds)
        rows.append(
            [
                name,
                f"{row['first']:.2f}",
                f"{statistics.median(seconds):.2f} ({lower:.2f} to {upper:.2f})",
                f"{statistics.median(ratios):.2f}x",
                "{:.2f} to {:.2f}".format(*quartiles(ratios)),
                len(seconds),
            ]
        )
    headings = ["work", "in the first round, s", "later, s", "to the plain conversion"]
    return table([*headings, "quartiles", "rounds"], rows)


def repeated_table(figures):
    """Return the lines of a table of many exports by one process."""
    rows = []
    for name, row in figures["repeated"].items():
        seconds = row["seconds"]
        fifth = max(1, len(seconds) // 5)
        rows.append(
            [
                name,
                len(seconds),
                *(f"{value:.2f}" for value in (seconds[0], seconds[-1])),
                *(
                    f"{statistics.median(s):.2f}"
                    for s in (seconds[1 : 1 + fifth], seconds[-fifth:])
                ),
                f"{row['memory'][0] / 1e6:,.0f}",
                f"{growth(row):+.0f}",
            ]
        )
    headings = ["export", "in one process", "first, s", "last, s", "median of the early ones, s"]
    return table([*headings, "of the late ones, s", "memory after the first, MB", "growth"], rows)


def bytes_table(figures):
    """Return the lines of a table of the files of fresh processes."""
    rows = [
        [name, len(hashes), len(set(hashes)), f"`{hashes[0][:16]}`"]
        for name, hashes in figures["bytes"].items()
    ]
    return table(["export", "fresh processes", "different files", "SHA-256 of the first"], rows)
