"""How the cost of each technique grows with the size of a model."""

from .goals import table

TITLE = "How cost grows"
PARTS = ("growth",)
ABOUT = (
    "One depthwise-separable network, wider and wider, and one deeper and deeper. The exponent is "
    "the slope of the logarithm of seconds over that of weights, or of layers, by least squares: 1 "
    "is proportional. What needs more than four minutes or 6 GiB is left out."
)


def goals(found):
    """Return none: nothing has been promised."""
    return []


def lines(found):
    """Return the plot, and the tables of exponents and of seconds."""
    text = ["![Seconds against weights and layers](images/benchmarks_growth.svg)", ""]
    for series, figures in found[PARTS[0]].items():
        curves = {what: _seconds(curve) for what, curve in figures["curves"].items()}
        sizes = sorted({size for curve in curves.values() for size in curve})
        text += table(
            ["of", "exponent", *(f"{size:,} {series}" for size in sizes)],
            [
                [what, _exponent(figures["exponents"][what]), *(c.get(s, "") for s in sizes)]
                for what, c in curves.items()
            ],
        )
        for row in figures["left_out"]:
            size = f"width {row['size']}" if series == "weights" else f"{row['size']} blocks"
            text += [f"{row['technique']} at {size} is left out: {row['error']}.", ""]
    return text


def _seconds(curve):
    return {point["size"]: f"{point['seconds']:.3f} s" for point in curve}


def _exponent(value):
    return "" if value is None else f"{value:.2f}"
