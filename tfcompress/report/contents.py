"""From findings to the document that pages and Markdown are made of."""

import os

from tfcompress.report.document import Document
from tfcompress.report.findings import Findings
from tfcompress.report.sections.agreement import agreement_section
from tfcompress.report.sections.layers import layers_section, weights_section
from tfcompress.report.sections.reproduction import reproduction_section, terms_section
from tfcompress.report.sections.search import search_section
from tfcompress.report.sections.summary import headline, summary_section
from tfcompress.report.sections.targets import targets_section
from tfcompress.report.sections.training import training_section


def findings_document(findings: Findings) -> Document:
    """Arrange findings as a document.

    Args:
        findings: what is known about a file.

    Returns:
        The document; sections about which nothing is known are left out.
    """
    sections = (
        summary_section(findings),
        targets_section(findings),
        agreement_section(findings),
        search_section(findings),
        training_section(findings.trainings),
        layers_section(findings),
        weights_section(findings),
        reproduction_section(findings),
        terms_section(),
    )
    return Document(
        kind="tfcompress report",
        title=os.path.basename(findings.file.name),
        lead=headline(findings),
        sections=tuple(section for section in sections if section is not None),
    )
