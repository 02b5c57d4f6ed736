"""What a search keeps while it compresses: accuracy, or any metric of the task."""

import dataclasses
import re
from collections.abc import Callable, Mapping

import keras
import numpy as np

from exporters.task_metric import find_task_metric
from tfcompress.search.results import ACCURACY

# As names of Keras say it, in the parts between underscores.
_LOWER = frozenset(
    {"cosh", "crossentropy", "divergence", "error", "hinge", "loss", "mae", "mape", "mse", "msle"}
    | {"perplexity", "poisson", "rmse", "logcosh", "kld"}
)
_HIGHER = frozenset(
    {"acc", "accuracy", "auc", "dice", "f1", "fbeta", "io", "iou", "precision", "r2", "recall"}
    | {"score", "sensitivity", "similarity", "specificity"}
)


@dataclasses.dataclass(frozen=True)
class Quality:
    """How good the outputs of a file are."""

    name: str  # of the metric
    lower_is_better: bool
    # From the outputs by name, in the order of the model, and the labels to the number.
    compute: Callable[[Mapping[str, np.ndarray], object], float]


def quality_of(metric=None, mode: str = "auto") -> Quality:
    """Read the ``metric`` and ``metric_mode`` of a search, as ``compress`` takes them.

    Example:
    >>> quality_of("mse").lower_is_better, quality_of(keras.metrics.AUC()).lower_is_better
    (True, False)
    """
    if mode not in ("auto", "max", "min"):
        raise ValueError(f"`metric_mode` is 'auto', 'max' or 'min'. Received: {mode!r}")
    output = None
    if isinstance(metric, Mapping):
        if len(metric) != 1:
            raise ValueError(
                "A search keeps one metric: {the name of an output: its metric}. "
                f"Received: metric={metric!r}"
            )
        ((output, metric),) = metric.items()
    if metric is None or (metric == ACCURACY and output is None):
        return Quality(ACCURACY, mode == "min", _accuracy)
    name, compute = _function(metric)
    if mode == "auto":
        parts = set(re.split(r"[\W_]+|(?<=[a-z])(?=[A-Z])", name.lower()))
        if bool(parts & _LOWER) == bool(parts & _HIGHER):
            raise ValueError(
                f"Whether more of metric {name!r} is better cannot be told by its name: pass "
                "`metric_mode`, 'max' or 'min'. Received: metric_mode='auto'"
            )
        mode = "min" if parts & _LOWER else "max"

    def measured(outputs, labels):
        if output is not None:
            return float(compute(_of_output(labels, outputs, output), outputs[output]))
        if isinstance(labels, Mapping):
            return float(compute(labels, {key: outputs[key] for key in labels}))
        found = list(outputs.values())
        return float(compute(labels, found[0] if len(found) == 1 else found))

    return Quality(name if output is None else f"{output} {name}", mode == "min", measured)


def _accuracy(outputs, labels):
    """Compute the share of right answers of the first output."""
    found = list(outputs.values())
    return float(find_task_metric(found[0], labels).compute(found, labels))


def _function(metric) -> tuple[str, Callable]:
    """Return the name of a metric, and a function from (labels, outputs) to its number."""
    given = keras.metrics.get(metric) if isinstance(metric, str | type) else metric
    if isinstance(given, keras.metrics.Metric):
        kind, config = type(given), given.get_config()

        def compute(labels, outputs):
            fresh = kind.from_config(config)
            fresh.update_state(labels, outputs)
            return fresh.result()

        return given.name, compute
    if not callable(given):
        raise ValueError(
            "`metric` is a metric of Keras, its name, or a function of (labels, outputs). "
            f"Received: metric={metric!r}"
        )
    return getattr(given, "__name__", type(given).__name__), lambda labels, outputs: np.mean(
        keras.ops.convert_to_numpy(given(labels, outputs)), dtype=np.float64
    )


def _of_output(labels, outputs, name):
    """Return the labels of one output."""
    if name not in outputs:
        raise ValueError(f"`metric` names one of the outputs {list(outputs)}. Received: {name!r}")
    if isinstance(labels, Mapping):
        return labels[name]
    return labels[list(outputs).index(name)] if isinstance(labels, list | tuple) else labels
