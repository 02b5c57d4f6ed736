"""Findings on the terminal: the file beside the float model, and what the numbers say."""

import os

from rich.table import Table

from tfcompress.report import formats
from tfcompress.report.findings import FileFindings, Findings


def files_table(findings: Findings) -> Table:
    """Make a table with a row for each file: metric, sizes, latency, float operations."""
    table = Table(title="in the interpreter, on this computer")
    headings = ("file", findings.metric_name, "bytes", "gzip bytes", "median, ms", "float ops")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "file" else "right", no_wrap=True)
    for file in (findings.baseline, findings.file):
        if file is not None:
            table.add_row(*_row(file, findings.metric_name))
    return table


def remarks(findings: Findings) -> list[str]:
    """Say what the numbers come to, a sentence each."""
    said = []
    if findings.baseline is not None:
        gains = formats.gains(
            findings.compression_ratio,
            findings.speed_up,
            findings.metric_drop,
            findings.metric_name,
        )
        said.append(f"{gains}; {formats.percent(findings.file.sparsity)} of the weights are zero")
    if findings.agreement is not None:
        agreement = findings.agreement
        text = (
            f"against {findings.reference}: {formats.percent(agreement.equal)} of the outputs "
            f"equal, {formats.percent(agreement.within_one)} within one step, largest difference "
            f"{agreement.largest:.3g}"
        )
        if agreement.same_class is not None:
            text += f", same class on {formats.percent(agreement.same_class)}"
        said.append(text)
    for ok, words in ((True, "taken as it is by"), (False, "not taken as it is by")):
        devices = [verdict.target for verdict in findings.verdicts if verdict.ok == ok]
        said += [f"{words} {', '.join(devices)}"] if devices else []
    return said


def _row(file: FileFindings, metric_name: str) -> tuple[str, ...]:
    return (
        os.path.basename(file.name),
        formats.metric(file.metric, metric_name),
        formats.count(file.size),
        formats.count(file.gzip_size),
        formats.UNKNOWN if file.latency is None else f"{1000 * file.latency:.3f}",
        str(file.float_operations),
    )
