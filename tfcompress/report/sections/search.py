"""The search that found the file: its trials, and what they had to choose between."""

import functools

from tfcompress.report import formats
from tfcompress.report.document import Cell, Column, Figure, Figures, Section, Table, Text
from tfcompress.report.findings import Findings
from tfcompress.report.plots.pareto import draw_pareto
from tfcompress.report.search_result import SearchResult, Trial


def search_section(findings: Findings) -> Section | None:
    """Draw the Pareto front and list the trials."""
    search = findings.search
    if search is None:
        return None
    figure = Figure(
        "Small against accurate",
        _alternative(search),
        functools.partial(draw_pareto, search),
        wide=True,
    )
    columns = (
        Column("trial", number=False),
        Column("candidate", number=False),
        Column(search.metric),
        Column("bytes, gzipped"),
        Column("compression"),
        Column("speed-up"),
        Column("seconds"),
        Column("on the front", number=False),
    )
    rows = tuple(_row(trial, search.metric) for trial in search.trials)
    table = Table("Trials", columns, rows, sortable=True)
    return Section("Search", (Text(_verdict(search)), Figures((figure,)), table))


def _verdict(search: SearchResult) -> str:
    limits = {name: limit for name, limit in search.budget.items() if limit is not None}
    budget = ", ".join(f"{name} {limit:g}" for name, limit in limits.items()) or "none"
    text = f"{len(search.trials)} trials for {search.target or 'any device'}; budget: {budget}. "
    if search.met:
        return text + f"Trial {search.nearest} is the best that holds it."
    if search.nearest is None:
        return text + "No trial was finished."
    misses = ", ".join(f"{name} by {value:.4g}" for name, value in search.shortfalls.items())
    return text + f"No trial holds it. Trial {search.nearest} is nearest: it misses {misses}."


def _row(trial: Trial, metric: str) -> tuple[Cell, ...]:
    asked = ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial.candidate.items()
        if value is not None
    )
    return (
        Cell(str(trial.number), trial.number),
        Cell(asked if trial.error is None else f"{asked}: {trial.error}"),
        Cell(formats.metric(trial.accuracy, metric), trial.accuracy),
        Cell(formats.count(trial.gzip_size), trial.gzip_size),
        Cell(formats.factor(trial.compression_ratio), trial.compression_ratio),
        Cell(formats.factor(trial.speed_up), trial.speed_up),
        Cell(formats.count(trial.seconds), trial.seconds),
        Cell("yes" if trial.on_front else "no"),
    )


def _alternative(search: SearchResult) -> str:
    front = [trial for trial in search.trials if trial.on_front and trial.gzip_size]
    points = "; ".join(
        f"trial {trial.number}: {formats.count(trial.gzip_size)} bytes, "
        f"{formats.metric(trial.accuracy, search.metric)}"
        for trial in sorted(front, key=lambda trial: trial.gzip_size)
    )
    name = search.metric.capitalize()
    return f"{name} over gzipped size of every trial. On the front: {points or 'none'}."
