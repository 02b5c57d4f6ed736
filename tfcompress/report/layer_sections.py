"""The sections about layers: size, bits, sparsity, noise, time, and the weights' distribution."""

import functools
import math
from collections.abc import Callable, Sequence

from tfcompress.report import formats
from tfcompress.report.document import Block, Cell, Column, Figure, Figures, Section, Table, Text
from tfcompress.report.findings import Findings, LayerFindings
from tfcompress.report.formats import TERMS
from tfcompress.report.plots import draw_bars, draw_histogram, draw_sparkline
from tfcompress.report.weights import Histogram

_DRAWN = 8  # histograms that are drawn large; the table has the others


def layers_section(findings: Findings) -> Section | None:
    """Show every operation in a table, and its numbers in figures."""
    layers = findings.layers
    if not layers:
        return None
    blocks: list[Block] = []
    compared = [layer for layer in layers if layer.sqnr is not None]
    if finite := [layer for layer in compared if math.isfinite(layer.sqnr)]:
        worst = min(finite, key=lambda layer: layer.sqnr)
        blocks.append(
            Text(
                f"Noise is measured against {findings.noise_reference}. The noisiest of "
                f"{len(compared)} outputs is that of {worst.title} ({worst.operation} "
                f"{worst.index}): {formats.decibels(worst.sqnr)}."
            )
        )
    if figures := _bar_figures(layers):
        blocks.append(Figures(figures))
    blocks.append(_layer_table(layers))
    return Section("Layers", tuple(blocks))


def weights_section(findings: Findings) -> Section | None:
    """Plot the distribution of the weights of the largest layers."""
    weighty = [x for x in findings.layers if x.weights is not None and x.weights.histogram]
    if not weighty:
        return None
    largest = sorted(weighty, key=lambda layer: -layer.weights.count)[:_DRAWN]
    shown = sorted(largest, key=lambda layer: layer.index)
    which = "all" if len(shown) == len(weighty) else f"the {len(shown)} largest of {len(weighty)}"
    text = f"How the weights of {which} layers spread, as real numbers; zeros left out."
    return Section("Weights", (Text(text), Figures(tuple(map(_histogram_figure, shown)))))


def _histogram_figure(layer: LayerFindings) -> Figure:
    weights = layer.weights
    return Figure(
        f"{layer.title} ({layer.operation} {layer.index})",
        f"Histogram of {weights.count:,} weights of {layer.title} between "
        f"{weights.histogram.low:.3g} and {weights.histogram.high:.3g}; "
        f"{formats.percent(weights.sparsity)} are zero and left out.",
        functools.partial(draw_histogram, weights.histogram),
    )


def _of_weights(name: str) -> Callable[[LayerFindings], float | None]:
    return lambda layer: None if layer.weights is None else getattr(layer.weights, name)


def _type(layer: LayerFindings) -> str | None:
    return layer.dtype and layer.dtype.lower() + (" (float)" * layer.float_)


# Heading, its explanation, a layer's value or None, and how to write it if it is a number.
_COLUMNS = (
    ("layer", "", lambda layer: layer.title, None),
    ("#", "place in the graph", lambda layer: layer.index, str),
    ("operation", "", lambda layer: layer.operation, None),
    ("type", "what it computes in", _type, None),
    ("bytes", "of its constants, biases included", lambda layer: layer.size, formats.count),
    ("weights", "", _of_weights("count"), formats.count),
    ("bits", TERMS["Bits"], _of_weights("bits"), str),
    ("sparsity", TERMS["Sparsity"], _of_weights("sparsity"), formats.percent),
    ("distinct", TERMS["Distinct values"], _of_weights("distinct"), formats.count),
    ("spread", "of the weights", _of_weights("histogram"), str),
    ("MACs", TERMS["MACs"], lambda layer: layer.macs, formats.count),
    ("SQNR", TERMS["SQNR"], lambda layer: layer.sqnr, formats.decibels),
    ("time", "by itself", lambda layer: layer.seconds, formats.milliseconds),
)
_WITH_BARS = ("bytes", "sparsity", "MACs", "time")


def _layer_table(layers: Sequence[LayerFindings]) -> Table:
    """Make a table with a row for each operation, without columns about which nothing is known."""
    columns, cells = [], []
    for title, explanation, value, write in _COLUMNS:
        values = [value(layer) for layer in layers]
        if all(number is None for number in values):
            continue
        columns.append(Column(title, write is not None, explanation))
        largest = max(number or 0 for number in values) if title in _WITH_BARS else 0
        cells.append([_cell(number, write, largest) for number in values])
    rows = tuple(zip(*cells, strict=True))
    return Table("Every operation", tuple(columns), rows, sortable=True)


def _cell(value, write: Callable | None, largest: float) -> Cell:
    if value is None:
        return Cell(formats.UNKNOWN)
    if write is None:
        return Cell(value)
    if isinstance(value, Histogram):
        text = f"{value.low:.3g} to {value.high:.3g}"
        return Cell(text, value.high, drawing=functools.partial(draw_sparkline, value))
    return Cell(write(value), float(value), value / largest if largest else None)


def _bar_figures(layers: Sequence[LayerFindings]) -> tuple[Figure, ...]:
    """Plot bytes, sparsity, bits, noise and time of the operations, if they are known."""
    sized = [(layer, layer.size / 1000) for layer in layers if layer.size]
    weighty = [layer for layer in layers if layer.weights is not None]
    sparse = [(layer, 100 * layer.weights.sparsity) for layer in weighty]
    wide = [(layer, layer.weights.bits) for layer in weighty]
    if len({bits for _, bits in wide}) == 1:
        wide = []  # one width needs no drawing
    noisy = [(x, x.sqnr) for x in layers if x.sqnr is not None and math.isfinite(x.sqnr)]
    timed = [(layer, 1000 * layer.seconds) for layer in layers if layer.seconds is not None]
    figures = (
        ("Size of each operation's constants", "kB", sized, "{:.1f} kB", 0, None),
        ("Sparsity of the weights", "zeros, %", sparse, "{:.1f} %", 1, 100),
        ("Bits of a weight", "bits", wide, "{} bits", 3, None),
        ("Signal over quantization noise at the outputs", "dB", noisy, "{:.1f} dB", 2, None),
        ("Time of each operation by itself", "ms", timed, "{:.4f} ms", 1, None),
    )
    return tuple(_bar_figure(*figure) for figure in figures if figure[2])


def _bar_figure(title, unit, pairs, form, series, top) -> Figure:
    low = min(pairs, key=lambda pair: pair[1])
    high = max(pairs, key=lambda pair: pair[1])
    alternative = (
        f"{title}: from {form.format(low[1])} ({low[0].title}) to {form.format(high[1])} "
        f"({high[0].title}), {len(pairs)} operations."
    )
    hints = [f"{x.index} {x.operation}, {x.title}: {form.format(value)}" for x, value in pairs]
    places, values = [x.index for x, _ in pairs], [value for _, value in pairs]
    draw = functools.partial(draw_bars, places, values, hints, unit, top, series)
    return Figure(title, alternative, draw)
