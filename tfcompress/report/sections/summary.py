"""The summary: what matters most, and the file beside the float model."""

import os
from collections.abc import Callable

from exporters.parity import Agreement
from tfcompress.report import formats
from tfcompress.report.document import Cell, Column, Section, Table, Text, Tile, Tiles
from tfcompress.report.findings import FileFindings, Findings


def summary_section(findings: Findings) -> Section:
    """Say what was gained and what it cost."""
    blocks = [Tiles(_tiles(findings)), comparison_table(findings)]
    if findings.runtime is not None:
        blocks.append(
            Text(
                f"Measured with {findings.runtime} on the computer described below. Times on the "
                "device differ."
            )
        )
    return Section("Summary", tuple(blocks))


def headline(findings: Findings) -> str:
    """Say in a sentence what the findings come to."""
    file, baseline = findings.file, findings.baseline
    if baseline is None:
        text = f"{formats.count(file.size)} bytes, {formats.count(file.gzip_size)} gzipped"
        if file.metric is not None:
            text += f", {findings.metric_name} {formats.metric(file.metric, findings.metric_name)}"
        return f"{text}."
    gains = formats.gains(
        findings.compression_ratio, findings.speed_up, findings.metric_drop, findings.metric_name
    )
    return f"Against {os.path.basename(baseline.name)}: {gains}."


def _tiles(findings: Findings) -> tuple[Tile, ...]:
    file, baseline = findings.file, findings.baseline
    tiles = []
    if baseline is not None:
        sizes = f"{formats.short(baseline.gzip_size)}B → {formats.short(file.gzip_size)}B gzipped"
        tiles.append(Tile("Compression ratio", formats.factor(findings.compression_ratio), sizes))
    else:
        tiles.append(
            Tile(
                "Size", f"{formats.short(file.size)}B", f"{formats.short(file.gzip_size)}B gzipped"
            )
        )
    if findings.speed_up is not None:
        times = f"{1000 * baseline.latency:.3f} → {formats.milliseconds(file.latency)}"
        tiles.append(Tile("Speed-up", formats.factor(findings.speed_up), times))
    elif file.latency is not None:
        tiles.append(Tile("Latency", formats.milliseconds(file.latency), "median of one run"))
    if file.metric is not None:
        drop = formats.metric_change(findings.metric_drop, findings.metric_name)
        tiles.append(
            Tile(
                findings.metric_name.capitalize(),
                formats.metric(file.metric, findings.metric_name),
                drop if baseline is not None else "in the interpreter",
            )
        )
    if file.sparsity is not None:
        tiles.append(Tile("Sparsity", formats.percent(file.sparsity), "of the weights are zero"))
    if findings.agreement is not None:
        tiles.append(_agreement_tile(findings.agreement))
    return tuple(tiles)


def _agreement_tile(agreement: Agreement) -> Tile:
    equal, near = formats.percent(agreement.equal), formats.percent(agreement.within_one)
    steps = f"{equal} of the outputs equal, {near} within one step"
    if agreement.same_class is None:
        return Tile("Agreement", near, steps)
    return Tile("Agreement", formats.percent(agreement.same_class), f"same class; {steps}")


def comparison_table(findings: Findings) -> Table:
    """Make a table of what is known about the file, beside its baseline where there is one."""
    file, baseline = findings.file, findings.baseline
    columns = [Column("measure", number=False), Column("this file")]
    if baseline is not None:
        columns = [columns[0], Column("float model"), columns[1], Column("change")]
    rows = []
    for name, value, write, change in _measures(findings.metric_name):
        values = [value(entry) for entry in (baseline, file) if entry is not None]
        if all(number is None for number in values):
            continue
        cells = [Cell(name), *(Cell(write(number), number) for number in values)]
        if baseline is not None:
            known = None not in values
            cells.append(Cell(change(*values) if known else formats.UNKNOWN))
        rows.append(tuple(cells))
    caption = os.path.basename(file.name)
    if baseline is not None:
        caption += f" beside {os.path.basename(baseline.name)}"
    return Table(caption, tuple(columns), tuple(rows))


def _measures(metric_name: str) -> list[tuple[str, Callable, Callable, Callable]]:
    """List what files are compared in: name, value of a file, how to write it and its change."""

    def memory(file: FileFindings) -> float | None:
        return file.timing.peak_memory if file.latency is not None else None

    def p90(file: FileFindings) -> float | None:
        return file.timing.p90 if file.latency is not None else None

    return [
        (
            metric_name,
            lambda file: file.metric,
            lambda value: formats.metric(value, metric_name),
            lambda before, after: formats.metric_change(before - after, metric_name),
        ),
        ("bytes", lambda file: file.size, formats.count, _smaller),
        ("bytes, gzipped", lambda file: file.gzip_size, formats.count, _smaller),
        ("latency, median", lambda file: file.latency, formats.milliseconds, _faster),
        ("latency, 90th percentile", p90, formats.milliseconds, _faster),
        ("memory", memory, formats.mebibytes, _smaller),
        ("parameters", lambda file: file.parameters, formats.count, _smaller),
        ("MACs", lambda file: file.macs, formats.count, _smaller),
        ("sparsity", lambda file: file.sparsity, formats.percent, _points),
        ("float operations", lambda file: file.float_operations, formats.count, _difference),
    ]


def _smaller(before: float, after: float) -> str:
    return "same" if before == after else _ratio(before, after, "smaller", "larger")


def _faster(before: float, after: float) -> str:
    return _ratio(before, after, "faster", "slower")


def _ratio(before: float, after: float, less: str, more: str) -> str:
    if not before or not after:
        return formats.UNKNOWN
    return formats.times(before / after, less, more, digits=2)


def _points(before: float, after: float) -> str:
    return formats.signed(f"{100 * (after - before):+.1f} points")


def _difference(before: float, after: float) -> str:
    return "same" if before == after else formats.signed(f"{after - before:+d}")
