"""A report as one HTML page that needs no network."""

import io

import jinja2
import matplotlib.figure

from tfcompress.report.quickstart import HEADINGS, QuickstartReport


def render(report: QuickstartReport) -> str:
    """Render a quickstart's report.

    Args:
        report: what was measured.

    Returns:
        The page, self-contained, readable on a phone and in dark mode.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfcompress.report"), autoescape=True
    )
    return environment.get_template("quickstart.html").render(
        report=report,
        headings=HEADINGS,
        rows=report.rows(),
        remarks=report.remarks(),
        curves=_training_curves(report),
    )


def _training_curves(report: QuickstartReport) -> str:
    """Draw the held-out accuracy of each training after each epoch, as inline SVG."""
    figure = matplotlib.figure.Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    for trained in report.trained:
        accuracy = [100 * value for value in trained.history["val_accuracy"]]
        axes.plot(range(1, len(accuracy) + 1), accuracy, label=trained.title)
    axes.set_xlabel("epoch")
    axes.set_ylabel("held-out accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    drawing = io.StringIO()
    figure.savefig(
        drawing, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    return drawing.getvalue().partition("<svg")[1] + drawing.getvalue().partition("<svg")[2]
