"""Metrics of the deployed model while it trains."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_callbacks.callback import CompressionCallback
from tfcompress.compat.keras_training import compute_metrics
from tfcompress.data import gather
from tfcompress.on_tensorflow import call_on_tensorflow
from tfcompress.quantization.scheme import Scheme
from tfcompress.targets.target import Target, load_target
from tfcompress.targets.vela import compile_for_npu, require_compiler


class DeployedAccuracy(CompressionCallback):
    """Convert the present model, run it in the interpreter, and log its metrics there.

    Logs ``val_deployed_<metric>`` for each metric, and ``val_deployed_agreement``: the fraction of
    output values within one quantization step of Keras's (within 1e-4 for float outputs). Put it
    before ``EarlyStopping`` and ``ModelCheckpoint`` in the list of callbacks to let them monitor
    the deployed model:

        ModelCheckpoint("best.keras", monitor="val_deployed_accuracy", mode="max")

    Args:
        validation_data: (inputs, labels), or a dataset of such batches.
        metrics: Keras metrics, by name or as objects, for each output.
        every: number of epochs between two conversions. The last epoch is always converted.
        quantization: as in ``export_tflite``; not for quantization-aware models.
        representative_data: as in ``export_tflite``.
        kernels: "xnnpack", "builtin" or "reference".
        threads: number of interpreter threads.
        target: a device whose compiler is asked too, such as "ethos-u55-128": logs ``npu_cycles``,
            ``npu_flash`` (bytes) and ``npu_left_on_cpu`` (operations).

    Raises:
        ImportError: the compiler of ``target`` is not installed.
        ValueError: ``validation_data`` has no labels or no examples, ``every`` is less than 1, or
            ``target`` is unknown or has no compiler. During training: what ``export_tflite``
            raises.

    Example:
    >>> deployed = DeployedAccuracy((x_test, y_test), every=5)
    >>> quantized = tfc.quantize_aware(model)
    >>> quantized.compile("adam", loss)
    >>> quantized.fit(x, y, epochs=5, callbacks=[deployed])
    """

    def __init__(
        self,
        validation_data: Any,
        metrics: Sequence = ("accuracy",),
        every: int = 1,
        *,
        quantization: str | Scheme | None = None,
        representative_data: Any = None,
        kernels: str = "xnnpack",
        threads: int = 1,
        target: str | Target | None = None,
    ):
        super().__init__()
        if every < 1:
            raise ValueError(f"`every` must be at least 1. Received: every={every!r}")
        self._inputs, self._labels = gather(validation_data)
        if self._labels is None:
            raise ValueError(
                "DeployedAccuracy needs labels: pass `validation_data=(inputs, labels)`, or a "
                "dataset of such batches. Received: data without labels"
            )
        self.metrics = list(metrics)
        self.every = every
        self._conversion = {
            "quantization": quantization,
            "representative_data": representative_data,
        }
        self._running = {"kernels": kernels, "threads": threads}
        self._target = load_target(target) if isinstance(target, str) else target
        if self._target is not None:
            if self._target.compiler is None:
                raise ValueError(
                    "`target` is a device with a compiler, such as 'ethos-u55-128'; check_target "
                    f"judges for others. Received: target={self._target.name!r}"
                )
            require_compiler(self._target)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Convert, run and log."""
        self.require_begun("on_epoch_end")
        last = epoch + 1 == (self.params or {}).get("epochs")
        if logs is None or not ((epoch + 1) % self.every == 0 or last):
            return
        flatbuffer, outputs, agreement = call_on_tensorflow(
            "exporters.deployed_outputs",
            "deployed_outputs",
            self.model,
            self._inputs,
            conversion=self._conversion,
            running=self._running,
        )
        logs["val_deployed_agreement"] = agreement
        for name, value in self._measure(outputs).items():
            logs[f"val_deployed_{name}"] = float(value)
        if self._target is not None:
            compiled = compile_for_npu(flatbuffer, self._target)
            logs["npu_cycles"] = float(compiled.cycles)
            logs["npu_flash"] = float(compiled.flash)
            logs["npu_left_on_cpu"] = float(len(compiled.left_on_cpu))

    def _measure(self, outputs):
        """Compute new metric objects: the model's own are in the middle of an epoch."""
        if len(outputs) == 1:
            return compute_metrics(self._metrics(), self._labels, outputs[0])
        metrics = [self._metrics() for _ in outputs]
        return compute_metrics(metrics, self._labels, outputs, self.model.output_names)

    def _metrics(self):
        """Return new metrics for one output."""
        return [metric if isinstance(metric, str) else _copy(metric) for metric in self.metrics]


def _copy(metric):
    """Return a new metric with the same config."""
    if isinstance(metric, keras.metrics.Metric):
        return type(metric).from_config(metric.get_config())
    return metric
