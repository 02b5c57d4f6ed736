"""How the metrics went in training."""

import functools
from collections.abc import Sequence

from tfcompress.report import formats
from tfcompress.report.document import Cell, Column, Figure, Figures, Section, Table
from tfcompress.report.plots.curves import draw_curves
from tfcompress.report.trainings import Training

_HELD_OUT = "val_"
_SHARES = ("accuracy", "sparsity")  # metrics of this name are shown in percent


def training_section(trainings: Sequence[Training]) -> Section | None:
    """Draw each metric over the epochs: of all trainings, on training and held-out data."""
    if not trainings:
        return None
    figures = tuple(_figure(trainings, name) for name in _metrics(trainings))
    return Section("Training", (Figures(figures), _table(trainings)))


def _metrics(trainings: Sequence[Training]) -> list[str]:
    """Name the metrics that are numbers of a training: accuracy and losses, each once."""
    names = [name for training in trainings for name in training.history]
    plain = dict.fromkeys(name.removeprefix(_HELD_OUT) for name in names)
    return [name for name in plain if "/" not in name]  # one a layer is for other plots


def _figure(trainings: Sequence[Training], metric: str) -> Figure:
    percent = any(word in metric for word in _SHARES)
    curves = {}
    for training in trainings:
        for name, where in ((metric, "training"), (_HELD_OUT + metric, "held out")):
            if name in training.history:
                scale = 100 if percent else 1
                values = [scale * value for value in training.history[name]]
                title = f"{training.title}, {where}" if len(trainings) > 1 else where
                curves[title] = values
    unit = f"{metric}, %" if percent else metric
    ends = "; ".join(f"{name}: {v[0]:.4g} to {v[-1]:.4g}" for name, v in curves.items())
    return Figure(
        metric.capitalize().replace("_", " "),
        f"{unit} from the first to the last epoch: {ends}.",
        functools.partial(draw_curves, curves, unit),
    )


def _table(trainings: Sequence[Training]) -> Table:
    columns = [Column("training", number=False), Column("epochs")]
    if any(training.parameters for training in trainings):
        columns.append(Column("weights"))
    if any(training.seconds for training in trainings):
        columns.append(Column("seconds"))
    shown = [column.title for column in columns]
    rows = []
    for training in trainings:
        cells = {
            "training": Cell(training.title),
            "epochs": Cell(str(training.epochs), training.epochs),
            "weights": Cell(formats.count(training.parameters), training.parameters),
            "seconds": Cell(formats.count(training.seconds), training.seconds),
        }
        rows.append(tuple(cells[title] for title in shown))
    return Table("Trainings", tuple(columns), tuple(rows))
