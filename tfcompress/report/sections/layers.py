"""Layer by layer: size, bits, sparsity, noise, time and how the weights spread."""

import functools
import math
from collections.abc import Callable, Sequence

from tfcompress.report import formats
from tfcompress.report.document import Block, Cell, Column, Figure, Figures, Section, Table, Text
from tfcompress.report.findings import Findings, LayerFindings
from tfcompress.report.plots.bars import draw_bars
from tfcompress.report.plots.distribution import draw_distribution, draw_sparkline
from tfcompress.report.terms import TERMS

_DRAWN = 8  # distributions that are drawn large; the table has the others


def layers_section(findings: Findings) -> Section | None:
    """Show every operation in a table, and what can be drawn of it in figures."""
    layers = findings.layers
    if not layers:
        return None
    blocks: list[Block] = []
    if noise := _noise_text(findings):
        blocks.append(Text(noise))
    if figures := _bar_figures(layers):
        blocks.append(Figures(figures))
    blocks.append(layer_table(layers))
    return Section("Layers", tuple(blocks))


def weights_section(findings: Findings) -> Section | None:
    """Draw how the weights of the largest layers spread."""
    weighty = [x for x in findings.layers if x.weights is not None and x.weights.histogram]
    if not weighty:
        return None
    largest = sorted(weighty, key=lambda layer: -layer.weights.count)[:_DRAWN]
    shown = sorted(largest, key=lambda layer: layer.index)
    which = "all" if len(shown) == len(weighty) else f"the {len(shown)} largest of {len(weighty)}"
    return Section(
        "Weights",
        (
            Text(f"How the weights of {which} layers spread, as real numbers; zeros left out."),
            Figures(tuple(_distribution_figure(layer) for layer in shown)),
        ),
    )


def layer_table(layers: Sequence[LayerFindings]) -> Table:
    """Make a table with a row for each operation; columns about which nothing is known go."""
    columns = [column for column in _COLUMNS if any(column.known(layer) for layer in layers)]
    rows = tuple(tuple(column.cell(layer, layers) for column in columns) for layer in layers)
    return Table("Every operation", tuple(c.heading for c in columns), rows, sortable=True)


class _LayerColumn:
    """A column of the table: what it shows of a layer, and how.

    Args:
        heading: its heading.
        value: a layer's value, None where there is none.
        write: makes text of the value.
        bar: whether a bar shows the value beside the largest one.
    """

    def __init__(self, heading: Column, value: Callable, write: Callable = str, bar: bool = False):
        self.heading = heading
        self._value, self._write, self._bar = value, write, bar

    def known(self, layer: LayerFindings) -> bool:
        return self._value(layer) is not None

    def cell(self, layer: LayerFindings, layers: Sequence[LayerFindings]) -> Cell:
        value = self._value(layer)
        if value is None:
            return Cell(formats.UNKNOWN)
        if not self.heading.number:
            return Cell(self._write(value))
        most = max((self._value(x) or 0 for x in layers), default=0) if self._bar else 0
        return Cell(self._write(value), float(value), value / most if most else None)


class _SpreadColumn(_LayerColumn):
    """The column of small histograms."""

    def cell(self, layer: LayerFindings, layers: Sequence[LayerFindings]) -> Cell:
        histogram = self._value(layer)
        if histogram is None:
            return Cell(formats.UNKNOWN)
        return Cell(
            f"{histogram.low:.3g} to {histogram.high:.3g}",
            histogram.high,
            drawing=functools.partial(draw_sparkline, histogram),
        )


def _of_weights(name: str) -> Callable[[LayerFindings], float | None]:
    return lambda layer: None if layer.weights is None else getattr(layer.weights, name)


_COLUMNS = (
    _LayerColumn(Column("layer", number=False), lambda layer: layer.title),
    _LayerColumn(Column("#", explanation="place in the graph"), lambda layer: layer.index),
    _LayerColumn(Column("operation", number=False), lambda layer: layer.operation),
    _LayerColumn(
        Column("type", number=False, explanation="what it computes in"),
        lambda layer: layer.dtype and layer.dtype.lower() + (" (float)" * layer.float_),
    ),
    _LayerColumn(
        Column("bytes", explanation="of its constants, biases included"),
        lambda layer: layer.size,
        formats.count,
        bar=True,
    ),
    _LayerColumn(Column("weights"), _of_weights("count"), formats.count),
    _LayerColumn(Column("bits", explanation=TERMS["Bits"]), _of_weights("bits")),
    _LayerColumn(
        Column("sparsity", explanation=TERMS["Sparsity"]),
        _of_weights("sparsity"),
        formats.percent,
        bar=True,
    ),
    _LayerColumn(
        Column("distinct", explanation=TERMS["Distinct values"]),
        _of_weights("distinct"),
        formats.count,
    ),
    _SpreadColumn(Column("spread", explanation="of the weights"), _of_weights("histogram")),
    _LayerColumn(
        Column("MACs", explanation=TERMS["MACs"]), lambda layer: layer.macs, formats.count, bar=True
    ),
    _LayerColumn(
        Column("SQNR", explanation=TERMS["SQNR"]), lambda layer: layer.sqnr, formats.decibels
    ),
    _LayerColumn(
        Column("time", explanation="by itself"),
        lambda layer: layer.seconds,
        formats.milliseconds,
        bar=True,
    ),
)


def _bar_figures(layers: Sequence[LayerFindings]) -> tuple[Figure, ...]:
    """Draw bytes, sparsity, bits, noise and time over the operations, where they are known."""
    sized = [(layer, layer.size / 1000) for layer in layers if layer.size]
    weighty = [layer for layer in layers if layer.weights is not None]
    widths = {layer.weights.bits for layer in weighty}  # one width needs no drawing
    noisy = [(x, x.sqnr) for x in layers if x.sqnr is not None and math.isfinite(x.sqnr)]
    timed = [(layer, 1000 * layer.seconds) for layer in layers if layer.seconds is not None]
    figures = (
        _bar_figure("Size of each operation's constants", "kB", sized, "{:.1f} kB", 0),
        _bar_figure(
            "Sparsity of the weights",
            "zeros, %",
            [(layer, 100 * layer.weights.sparsity) for layer in weighty],
            "{:.1f} %",
            1,
            top=100,
        ),
        _bar_figure(
            "Bits of a weight",
            "bits",
            [(layer, layer.weights.bits) for layer in weighty] if len(widths) > 1 else [],
            "{} bits",
            3,
        ),
        _bar_figure("Signal over quantization noise at the outputs", "dB", noisy, "{:.1f} dB", 2),
        _bar_figure("Time of each operation by itself", "ms", timed, "{:.4f} ms", 1),
    )
    return tuple(figure for figure in figures if figure is not None)


def _bar_figure(title, unit, pairs, form, series, top=None) -> Figure | None:
    if not pairs:
        return None
    low = min(pairs, key=lambda pair: pair[1])
    high = max(pairs, key=lambda pair: pair[1])
    alternative = (
        f"{title}: from {form.format(low[1])} ({low[0].title}) to {form.format(high[1])} "
        f"({high[0].title}), {len(pairs)} operations."
    )
    hints = [f"{x.index} {x.operation}, {x.title}: {form.format(value)}" for x, value in pairs]
    return Figure(
        title,
        alternative,
        functools.partial(
            draw_bars,
            [x.index for x, _ in pairs],
            [value for _, value in pairs],
            hints,
            unit,
            top,
            series,
        ),
    )


def _distribution_figure(layer: LayerFindings) -> Figure:
    weights = layer.weights
    return Figure(
        f"{layer.title} ({layer.operation} {layer.index})",
        f"Histogram of {weights.count:,} weights of {layer.title} between "
        f"{weights.histogram.low:.3g} and {weights.histogram.high:.3g}; "
        f"{formats.percent(weights.sparsity)} are zero and left out.",
        functools.partial(draw_distribution, weights.histogram),
    )


def _noise_text(findings: Findings) -> str | None:
    compared = [layer for layer in findings.layers if layer.sqnr is not None]
    finite = [layer for layer in compared if math.isfinite(layer.sqnr)]
    if not finite:
        return None
    worst = min(finite, key=lambda layer: layer.sqnr)
    return (
        f"Noise is measured against {findings.noise_reference}. The noisiest of {len(compared)} "
        f"outputs is that of {worst.title} ({worst.operation} {worst.index}): "
        f"{formats.decibels(worst.sqnr)}."
    )
