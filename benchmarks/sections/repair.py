"""What a repair after training gains before the converter quantizes."""

from .goals import at_least, table

TITLE = "Repair after training"
PARTS = ("repair",)
ABOUT = "Signal-to-noise ratio of the int8 file's outputs against the float model's, in decibels."
WANTED = {"ad": "MLPerf Tiny autoencoder", "vww": "MLPerf Tiny MobileNetV1"}


def goals(found):
    """Return that the best way gains three decibels."""
    decibels = {}
    for row in found.get(PARTS[0], ()):
        decibels.setdefault(row["model"], {})[row["way"]] = row["decibels"]
    return [_gain(title, decibels[model]) for model, title in WANTED.items() if model in decibels]


def _gain(title, ways):
    best = max(ways, key=ways.get)
    gain = ways[best] - ways["plain"]
    return at_least(f"{title}, {best}: gain", 3.0, gain, "{:.1f} dB")


def lines(found):
    """Return the table of all models and ways."""
    return table(
        ["model", "before the export", "dB"],
        [[row["model"], row["way"], f"{row['decibels']:.1f}"] for row in found[PARTS[0]]],
    )
