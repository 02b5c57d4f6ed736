"""How the cost of each technique grows with the size of a model."""

from .goals import table

TITLE = "How cost grows"
PARTS = ("growth",)
ABOUT = (
    "One depthwise-separable network, wider and wider. The exponent is the slope of the "
    "logarithm of seconds over that of weights, by least squares: 1 is proportional."
)


def goals(found):
    """Return none: nothing has been promised."""
    return []


def lines(found):
    """Return the plot, and the tables of exponents and of seconds."""
    figures = found[PARTS[0]]
    kinds = list(figures["exponents"])
    text = ["![Seconds against weights](images/benchmarks_growth.svg)", ""]
    text += table(["of", "exponent"], [[k, f"{figures['exponents'][k]:.2f}"] for k in kinds])
    return text + table(
        ["weights", *(f"{kind}, s" for kind in kinds)],
        [
            [f"{row['weights']:,}", *(f"{row['seconds'][kind]:.3f}" for kind in kinds)]
            for row in figures["rows"]
        ],
    )
