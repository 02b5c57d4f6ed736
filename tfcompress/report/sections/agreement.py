"""Whether the file does what the model does, under each kernel set."""

from exporters.parity import OutputAgreement
from tfcompress.report import formats
from tfcompress.report.document import Cell, Column, Section, Table, Text
from tfcompress.report.findings import Findings


def agreement_section(findings: Findings) -> Section | None:
    """Show how the outputs agree with the reference's."""
    agreement = findings.agreement
    if agreement is None:
        return None
    rows = []
    for run in agreement.runs:
        metric = Cell(formats.metric(run.metric, findings.metric_name), run.metric)
        name = f"{run.runtime}, {run.kernels}"
        if run.error is not None:
            rows.append((Cell(name), Cell(f"did not run: {run.error}"), *[Cell("")] * 4, Cell("")))
        for output in run.outputs:
            rows.append((Cell(name), Cell(output.name), *_cells(output), metric))
    columns = (
        Column("runtime, kernels", number=False),
        Column("output", number=False),
        Column("equal"),
        Column("within one step"),
        Column("largest difference"),
        Column("same class"),
        Column(findings.metric_name),
    )
    text = f"{agreement.examples:,} examples, compared with {findings.reference}"
    if agreement.reference_metric is not None:
        value = formats.metric(agreement.reference_metric, findings.metric_name)
        text += f", whose {findings.metric_name} is {value}"
    blocks = [Text(text + "."), Table("Outputs under each kernel set", columns, tuple(rows))]
    if agreement.first_wrong is not None:
        blocks.append(Text(f"First to go wrong: {agreement.first_wrong}."))
    return Section("Agreement", tuple(blocks))


def _cells(output: OutputAgreement) -> tuple[Cell, ...]:
    largest = f"{output.largest:g} LSB" if output.unit == "LSB" else f"{output.largest:.3g}"
    return (
        Cell(formats.percent(output.equal), output.equal),
        Cell(formats.percent(output.within_one), output.within_one),
        Cell(largest, output.largest),
        Cell(formats.percent(output.same_class), output.same_class),
    )
