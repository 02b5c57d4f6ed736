"""How to get the same again: the command, versions, and hashes of files."""

from tfcompress.report.document import Code, Pairs, Section
from tfcompress.report.findings import Findings
from tfcompress.report.terms import TERMS


def reproduction_section(findings: Findings) -> Section:
    """Say how the report was made."""
    blocks = [] if findings.command is None else [Code(findings.command)]
    blocks.append(Pairs(tuple(findings.environment.items())))
    if findings.runtime is not None:
        blocks.append(Pairs((("runtime", findings.runtime),)))
    blocks.append(Pairs(tuple(findings.sources.items()), code=True))
    return Section("How to reproduce", tuple(blocks))


def terms_section() -> Section:
    """Say what the words mean."""
    return Section("Terms", (Pairs(tuple(TERMS.items())),), folded=True)
