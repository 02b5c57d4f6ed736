"""What quantization-aware training does at a time: a warm-up, the main part, a calm end."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Phase:
    """Which parts of quantization-aware training are at work.

    Attributes:
        rounding: whether weights and activations are rounded; without it the model computes in
            float and its ranges merely follow.
        ranges_move: whether ranges follow the data. Without it a step is cheaper: nothing is
            observed.
        statistics_move: whether BatchNormalization normalizes by the batch and moves its
            statistics; without it, it uses them as they are, as the deployed model does.
    """

    rounding: bool = True
    ranges_move: bool = True
    statistics_move: bool = True
