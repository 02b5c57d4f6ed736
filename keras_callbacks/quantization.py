"""When quantization-aware training quantizes, and when it freezes ranges and statistics."""

from typing import Any

from keras_callbacks.callback import CompressionCallback, retrace
from tfcompress.compat.keras_steps import updates_made
from tfcompress.deprecation import old_attribute
from tfcompress.keras_graph.wrapper import ModelWrapper
from tfcompress.quantization import QuantizeAware
from tfcompress.quantization.activation_tensors import TrainingMode


class QuantizationSchedule(CompressionCallback):
    """Delay quantization, and freeze ranges and BatchNormalization statistics.

    Training in float first lets ranges and weights converge. Frozen ranges make steps cheaper and
    let the weights adapt to the deployed numerics; frozen statistics do the same for
    BatchNormalization, which the device folds into the kernels. Steps are counted by the optimizer,
    so that a resumed training continues where it stopped. Each change retraces the training step,
    but for freezing ranges that follow the data.

    Args:
        begin_step: the first step in which weights and activations are quantized.
        freeze_ranges_step: the first step with frozen ranges; ``None`` for never.
        freeze_statistics_step: the first step in which BatchNormalization uses its moving
            statistics; ``None`` for never.

    Raises:
        ValueError: a step is negative, or ranges freeze at step 0, before any batch. Before the
            first step of ``fit``: the model is not quantization-aware.

    Example:
    >>> schedule = QuantizationSchedule(freeze_ranges_step=500, freeze_statistics_step=500)
    >>> quantized = tfc.quantize_aware(model)
    >>> quantized.compile("adam", loss)
    >>> quantized.fit(x, y, epochs=10, callbacks=[schedule])
    """

    phase_at = old_attribute("phase_at", "mode_at")

    def __init__(
        self,
        begin_step: int = 0,
        freeze_ranges_step: int | None = None,
        freeze_statistics_step: int | None = None,
    ):
        super().__init__()
        for name, step, least in (
            ("begin_step", begin_step, 0),
            ("freeze_ranges_step", freeze_ranges_step, 1),
            ("freeze_statistics_step", freeze_statistics_step, 0),
        ):
            if step is not None and step < least:
                raise ValueError(f"`{name}` must be at least {least}. Received: {name}={step!r}")
        self.begin_step = begin_step
        self.freeze_ranges_step = freeze_ranges_step
        self.freeze_statistics_step = freeze_statistics_step

    def mode_at(self, step: int) -> TrainingMode:
        """Return what the training step of that number does."""
        return TrainingMode(
            rounding=step >= self.begin_step,
            ranges_move=self.freeze_ranges_step is None or step < self.freeze_ranges_step,
            statistics_move=self.freeze_statistics_step is None
            or step < self.freeze_statistics_step,
        )

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Find the quantization-aware model."""
        super().on_train_begin(logs)
        self.require_optimizer()
        self._quantized = _find_quantized(self.model)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Set what the next step does."""
        del batch, logs
        self.require_begun("on_train_batch_begin")
        mode = self.mode_at(updates_made(self.model))
        if self._quantized.set_training_mode(mode):
            retrace(self.model)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Restore the default: another training may have no schedule."""
        del logs
        self.require_begun("on_train_end")
        if self._quantized.training_mode != TrainingMode():
            self._quantized.set_training_mode(TrainingMode())
            self.model.train_function = None


def _find_quantized(model) -> QuantizeAware:
    """Return the quantization-aware model inside wrappers."""
    inner = model
    while isinstance(inner, ModelWrapper):
        if isinstance(inner, QuantizeAware):
            return inner
        inner = inner.model
    raise ValueError(
        "QuantizationSchedule requires a quantization-aware model: train what `quantize_aware` "
        f"returns. Received: model {model.name!r} of type {type(model).__name__}"
    )
