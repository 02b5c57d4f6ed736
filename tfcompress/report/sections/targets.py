"""What devices make of the file."""

from exporters.compatibility import Verdict
from tfcompress.report import formats
from tfcompress.report.document import Cell, Column, Items, Section, Table, Text
from tfcompress.report.findings import Findings

_SHOWN = 8  # reasons; a float file has one for each of its operations


def targets_section(findings: Findings) -> Section | None:
    """Show each device's verdict, and what stands against the file."""
    if not findings.verdicts:
        return None
    columns = (
        Column("device", number=False),
        Column("verdict", number=False),
        Column("left on the CPU", number=False),
        Column("needs release"),
    )
    blocks = [Table("Devices", columns, tuple(_row(verdict) for verdict in findings.verdicts))]
    for verdict in findings.verdicts:
        if verdict.reasons:
            blocks += [Text(f"Against {verdict.target}:"), Items(_first(verdict.reasons))]
        if verdict.notes:
            blocks += [Text(f"To know about {verdict.target}:"), Items(_first(verdict.notes))]
    return Section("Targets", tuple(blocks))


def _row(verdict: Verdict) -> tuple[Cell, ...]:
    left = ", ".join(
        f"{name} {formats.TIMES}{count}" for name, count in verdict.left_on_cpu.items()
    )
    return (
        Cell(verdict.target),
        Cell("✓ runs" if verdict.ok else "✗ does not take it as it is"),
        Cell(left or "nothing"),
        Cell(verdict.min_runtime or formats.UNKNOWN),
    )


def _first(reasons: tuple[str, ...]) -> tuple[str, ...]:
    more = len(reasons) - _SHOWN
    return (*reasons[:_SHOWN], *([f"and {more} more"] if more > 0 else []))
