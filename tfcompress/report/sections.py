"""The sections of a report, each from findings to blocks; None where nothing is known."""

import functools
import os
from collections.abc import Callable, Sequence

from tfcompress.report import formats
from tfcompress.report.answers_section import answers_section
from tfcompress.report.document import (
    Cell,
    Code,
    Column,
    Document,
    Figure,
    Figures,
    Items,
    Pairs,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
)
from tfcompress.report.findings import FileFindings, Findings
from tfcompress.report.formats import TERMS
from tfcompress.report.histories import Training
from tfcompress.report.layer_sections import layers_section, weights_section
from tfcompress.report.plots import draw_curves, draw_pareto
from tfcompress.search.results import SearchResult, Trial
from tfcompress.targets.vela import Compilation

_REASONS = 8  # the most reasons per device; a float file has one for each of its operations
_HELD_OUT = "val_"
_SHARES = ("accuracy", "sparsity")  # metrics of this name are shown in percent


def findings_document(findings: Findings) -> Document:
    """Arrange findings as a document, without sections about which nothing is known."""
    sections = (
        _summary_section(findings),
        _targets_section(findings),
        _agreement_section(findings),
        answers_section(findings),
        _search_section(findings),
        _training_section(findings.trainings),
        layers_section(findings),
        weights_section(findings),
        _reproduction_section(findings),
        Section("Terms", (Pairs(tuple(TERMS.items())),), folded=True),
    )
    return Document(
        kind="tfcompress report",
        title=os.path.basename(findings.file.name),
        lead=_lead(findings),
        sections=tuple(section for section in sections if section is not None),
    )


def _columns(texts: Sequence[str], numbers: Sequence[str]) -> tuple[Column, ...]:
    return tuple([Column(title, number=False) for title in texts] + list(map(Column, numbers)))


def _lead(findings: Findings) -> str:
    """Sum up the findings in a sentence."""
    file, baseline, name = findings.file, findings.baseline, findings.metric_name
    if baseline is None:
        text = f"{formats.count(file.size)} bytes, {formats.count(file.gzip_size)} gzipped"
        if file.metric is not None:
            text += f", {name} {formats.metric(file.metric, name)}"
        return f"{text}."
    return f"Against {os.path.basename(baseline.name)}: {findings.gains()}."


def _summary_section(findings: Findings) -> Section:
    """Show what was gained and what it cost."""
    blocks = [Tiles(_tiles(findings)), _comparison_table(findings)]
    if findings.runtime is not None:
        measured = f"Measured with {findings.runtime} on the computer described below."
        blocks.append(Text(f"{measured} Times on the device differ."))
    return Section("Summary", tuple(blocks))


def _tiles(findings: Findings) -> tuple[Tile, ...]:
    file, baseline, name = findings.file, findings.baseline, findings.metric_name
    gzipped = f"{formats.short(file.gzip_size)}B gzipped"
    if baseline is not None:
        sizes = f"{formats.short(baseline.gzip_size)}B → {gzipped}"
        tiles = [Tile("Compression ratio", formats.factor(findings.compression_ratio), sizes)]
    else:
        tiles = [Tile("Size", f"{formats.short(file.size)}B", gzipped)]
    if findings.speed_up is not None:
        times = f"{1000 * baseline.latency:.3f} → {formats.milliseconds(file.latency)}"
        tiles.append(Tile("Speed-up", formats.factor(findings.speed_up), times))
    elif file.latency is not None:
        tiles.append(Tile("Latency", formats.milliseconds(file.latency), "median of one run"))
    if file.metric is not None:
        change = formats.metric_change(findings.metric_drop, name)
        note = change if baseline is not None else "in the interpreter"
        tiles.append(Tile(name.capitalize(), formats.metric(file.metric, name), note))
    if file.sparsity is not None:
        tiles.append(Tile("Sparsity", formats.percent(file.sparsity), "of the weights are zero"))
    if findings.agreement is not None:
        agreement = findings.agreement
        equal, near = formats.percent(agreement.equal), formats.percent(agreement.within_one)
        value, note = near, f"{equal} of the outputs equal, {near} within one step"
        if agreement.same_class is not None:
            value, note = formats.percent(agreement.same_class), f"same class; {note}"
        tiles.append(Tile("Agreement", value, note))
    return tuple(tiles)


def _comparison_table(findings: Findings) -> Table:
    """Make a table of what is known about the file, beside its baseline if there is one."""
    file, baseline = findings.file, findings.baseline
    numbers = ["this file"] if baseline is None else ["float model", "this file", "change"]
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
    return Table(caption, _columns(["measure"], numbers), tuple(rows))


def _measures(metric_name: str) -> list[tuple[str, Callable, Callable, Callable]]:
    """List the measures of a comparison: name, value of a file, how to write it and its change."""

    def timing(name: str) -> Callable[[FileFindings], float | None]:
        return lambda file: None if file.latency is None else getattr(file.timing, name)

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
        ("latency, 90th percentile", timing("p90"), formats.milliseconds, _faster),
        ("memory", timing("peak_memory"), formats.mebibytes, _smaller),
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


def _targets_section(findings: Findings) -> Section | None:
    """Show each device's verdict, and what prevents it from running the file."""
    if not findings.verdicts:
        return None
    rows, texts = [], []
    for verdict in findings.verdicts:
        left = (f"{name} {formats.TIMES}{count}" for name, count in verdict.left_on_cpu.items())
        rows.append(
            (
                Cell(verdict.target),
                Cell("✓ runs" if verdict.ok else "✗ does not take it as it is"),
                Cell(", ".join(left) or "nothing"),
                Cell(verdict.min_runtime or formats.UNKNOWN),
            )
        )
        for heading, said in (("Against", verdict.reasons), ("To know about", verdict.notes)):
            more = len(said) - _REASONS
            if said:
                items = (*said[:_REASONS], *([f"and {more} more"] if more > 0 else []))
                texts += [Text(f"{heading} {verdict.target}:"), Items(items)]
    columns = _columns(["device", "verdict", "left on the CPU"], ["needs release"])
    tables = [Table("Devices", columns, tuple(rows))]
    compiled = [
        (verdict.target, name, verdict.compiled)
        for name, verdicts in (
            ("baseline", findings.baseline_verdicts),
            ("file", findings.verdicts),
        )
        for verdict in verdicts
        if verdict.compiled is not None
    ]
    if compiled:
        tables.append(_compiled_table(compiled))
    return Section("Targets", (*tables, *texts))


def _compiled_table(compiled: list[tuple[str, str, Compilation]]) -> Table:
    """Show what a compiler makes of the baseline and of the file, device by device."""
    rows = tuple(
        (
            Cell(target),
            Cell(name),
            Cell(f"{each.operations - len(each.left_on_cpu)} of {each.operations}"),
            *_cost(each),
        )
        for target, name, each in sorted(compiled, key=lambda row: row[0])
    )
    numbers = ["operations on the NPU", "flash, bytes", "SRAM, bytes", "cycles"]
    return Table("Compiled for an NPU", _columns(["device", "file"], numbers), rows)


def _cost(compiled: Compilation) -> list[Cell]:
    """Show flash, memory and cycles; nothing is known of a file that the NPU runs nothing of."""
    on_npu = len(compiled.left_on_cpu) < compiled.operations
    costs = compiled.flash, compiled.sram, compiled.cycles
    return [Cell(formats.count(cost if on_npu else None), cost) for cost in costs]


def _agreement_section(findings: Findings) -> Section | None:
    """Show how the outputs agree with the reference's, under each kernel set."""
    agreement = findings.agreement
    if agreement is None:
        return None
    rows = []
    for run in agreement.runs:
        metric = Cell(formats.metric(run.metric, findings.metric_name), run.metric)
        name = Cell(f"{run.runtime}, {run.kernels}")
        if run.error is not None:
            rows.append((name, Cell(f"did not run: {run.error}"), *[Cell("")] * 5))
        for output in run.outputs:
            shares = output.equal, output.within_one, output.same_class
            equal, near, same = (Cell(formats.percent(share), share) for share in shares)
            unit = output.unit == "LSB"
            largest = f"{output.largest:g} LSB" if unit else f"{output.largest:.3g}"
            cells = equal, near, Cell(largest, output.largest), same, metric
            rows.append((name, Cell(output.name), *cells))
    columns = _columns(
        ["runtime, kernels", "output"],
        ["equal", "within one step", "largest difference", "same class", findings.metric_name],
    )
    examples = f"{agreement.examples:,} examples{agreement.of_what()}"
    text = f"{examples}, compared with {findings.reference}"
    if agreement.reference_metric is not None:
        value = formats.metric(agreement.reference_metric, findings.metric_name)
        text += f", whose {findings.metric_name} is {value}"
    misfits = [Text(f"{said[0].upper()}{said[1:]}.") for said in agreement.misfits]
    blocks = [
        Text(text + "."),
        *misfits,
        Table("Outputs under each kernel set", columns, tuple(rows)),
    ]
    if agreement.first_wrong is not None:
        blocks.append(Text(f"First to go wrong: {agreement.first_wrong}."))
    return Section("Agreement", tuple(blocks))


def _search_section(findings: Findings) -> Section | None:
    """Plot the Pareto front and list the trials."""
    search = findings.search
    if search is None:
        return None
    points = "; ".join(
        f"trial {trial.number}: {formats.count(trial.gzip_size)} bytes, "
        f"{formats.metric(trial.accuracy, search.reference.metric)}"
        for trial in sorted(search.front, key=lambda trial: trial.gzip_size)
    )
    figure = Figure(
        "Small against accurate",
        f"{search.reference.metric.capitalize()} over gzipped size of every trial. "
        f"On the front: {points or 'none'}.",
        functools.partial(draw_pareto, search),
        wide=True,
        note="Squares: trials on the front. Dots: the others. Left and up is better."
        if not search.reference.lower_is_better
        else "Squares: trials on the front. Dots: the others. Left and down is better.",
    )
    numbers = [search.reference.metric, "bytes, gzipped", "compression", "speed-up", "seconds"]
    columns = (
        Column("trial"),
        *_columns(["candidate"], numbers),
        Column("on the front", number=False),
    )
    metric = search.reference.metric
    rows = tuple(_trial_row(trial, metric, trial in search.front) for trial in search.trials)
    table = Table("Trials", columns, rows, sortable=True)
    return Section("Search", (Text(_search_verdict(search)), Figures((figure,)), table))


def _search_verdict(search: SearchResult) -> str:
    tried = f"{len(search.trials)} trials for {search.target or 'any device'}"
    verdict = "No trial was finished." if search.nearest is None else search.verdict()
    return f"{tried}; budget: {search.budget.to_text()}. {verdict}"


def _trial_row(trial: Trial, metric: str, on_front: bool) -> tuple[Cell, ...]:
    asked = trial.candidate.to_text()
    return (
        Cell(str(trial.number), trial.number),
        Cell(asked if trial.error is None else f"{asked}: {trial.error}"),
        Cell(formats.metric(trial.accuracy, metric), trial.accuracy),
        Cell(formats.count(trial.gzip_size), trial.gzip_size),
        Cell(formats.factor(trial.compression_ratio), trial.compression_ratio),
        Cell(formats.factor(trial.speed_up), trial.speed_up),
        Cell(formats.count(trial.seconds), trial.seconds),
        Cell("yes" if on_front else "no"),
    )


def _training_section(trainings: Sequence[Training]) -> Section | None:
    """Plot each metric over the epochs: of all trainings, on training and held-out data."""
    if not trainings:
        return None
    names = [name for training in trainings for name in training.history]
    metrics = dict.fromkeys(name.removeprefix(_HELD_OUT) for name in names)
    # A metric of a single layer has a "/" in its name.
    figures = tuple(_curves(trainings, name) for name in metrics if "/" not in name)
    return Section("Training", (Figures(figures), _trainings_table(trainings)))


def _curves(trainings: Sequence[Training], metric: str) -> Figure:
    percent = any(word in metric for word in _SHARES)
    curves = {}
    for training in trainings:
        for name, where in ((metric, "training"), (_HELD_OUT + metric, "held out")):
            if name in training.history:
                title = f"{training.title}, {where}" if len(trainings) > 1 else where
                curves[title] = [100 * x if percent else x for x in training.history[name]]
    unit = f"{metric}, %" if percent else metric
    ends = "; ".join(f"{name}: {v[0]:.4g} to {v[-1]:.4g}" for name, v in curves.items())
    return Figure(
        metric.capitalize().replace("_", " "),
        f"{unit} from the first to the last epoch: {ends}.",
        functools.partial(draw_curves, curves, unit),
    )


def _trainings_table(trainings: Sequence[Training]) -> Table:
    numbers = {
        "epochs": [training.epochs for training in trainings],
        "weights": [training.parameters for training in trainings],
        "seconds": [training.seconds for training in trainings],
    }
    known = {title: values for title, values in numbers.items() if title == "epochs" or any(values)}
    rows = tuple(
        (Cell(training.title), *(Cell(formats.count(v[i]), v[i]) for v in known.values()))
        for i, training in enumerate(trainings)
    )
    return Table("Trainings", _columns(["training"], list(known)), rows)


def _reproduction_section(findings: Findings) -> Section:
    """Show how to reproduce the report: the command, versions, and hashes of files."""
    blocks = [] if findings.command is None else [Code(findings.command)]
    blocks.append(Pairs(tuple(findings.environment.items())))
    if findings.runtime is not None:
        blocks.append(Pairs((("runtime", findings.runtime),)))
    blocks.append(Pairs(tuple(findings.sources.items()), code=True))
    return Section("How to reproduce", tuple(blocks))
