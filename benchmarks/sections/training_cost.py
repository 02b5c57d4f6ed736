"""The cost of training and export of each technique, model by model."""

import statistics

from .goals import Goal, at_most, table

TITLE = "Cost of training"
PARTS = (
    "training_cost_mobilenetv2_035",
    "training_cost_resnet_8",
    "training_cost_ds_cnn",
    "training_cost_mobilenetv3small",
    "training_cost_resnet50",
    "training_cost_efficientnetb0",
)
ABOUT = (
    "Trainings of batches of 32 take turns every five steps. Medians over all turns and rounds; "
    "ratios are medians of the ratios within a turn, with their quartiles. The export is that of "
    "the trained model to .tflite, float but for QAT. `by TFMOT` and `tf_keras, plain` are peers."
)
# Limits of the step, of the models that both train.
STEP_LIMITS = {
    "Keras 3, pruning / Keras 3, plain": 0.85,
    "Keras 3, clustering / Keras 3, plain": 0.85,
    "Keras 3, pruning / tf_keras, pruning by TFMOT": 1.05,
    "Keras 3, clustering / tf_keras, clustering by TFMOT": 1.05,
    "Keras 3, QAT / Keras 3, plain": 0.90,
    "Keras 3, QAT / tf_keras, QAT by TFMOT": 0.75,
    "Keras 3, QAT, ranges frozen / Keras 3, QAT": 0.95,
    "Keras 3, distillation / Keras 3, distillation by Keras": 0.80,
}
SMALL = ("MobileNetV2-0.35", "ResNet-8", "DS-CNN")
SMALL_LIMITS = STEP_LIMITS | {"Keras 3, QAT / Keras 3, plain": 0.80}
FIRST_EPOCH_LIMITS = {
    "Keras 3, pruning / Keras 3, plain": 1.3,
    "Keras 3, QAT / Keras 3, plain": 1.15,
}


def goals(found):
    """Return the goals of the steps and first epochs, and that each model is trained at all."""
    result = []
    for figures in found.values():
        model, pairs = figures["model"], figures["pairs"]
        for name, limit in (SMALL_LIMITS if model in SMALL else STEP_LIMITS).items():
            if pair := pairs.get(name):
                spread = "{:.3f} to {:.3f}".format(*pair["step_quartiles"])
                case = f"{model}: step, {name}"
                result.append(at_most(case, limit, pair["step"], "{:.3f}x", spread))
        for name, limit in FIRST_EPOCH_LIMITS.items():
            if pair := pairs.get(name):
                case = f"{model}: first epoch, {name}"
                result.append(at_most(case, limit, pair["first_epoch"], "{:.2f}x"))
        if "mask_bytes_per_weight" in figures:
            masks = figures["mask_bytes_per_weight"]
            result.append(at_most(f"{model}: memory of the masks, bytes a weight", 1.0, masks))
        refused = [name for name in figures["left_out"] if name.startswith("Keras 3")]
        result.append(
            Goal(f"{model} trains with each technique", "all", _count(refused), "", not refused)
        )
    return result


def _count(refused):
    return "all" if not refused else "without " + ", ".join(refused)


def lines(found):
    """Return a table of times and one of ratios for each model."""
    text = []
    for figures in found.values():
        text += [f"### {figures['model']}, {figures['weights']:,} weights"]
        text += table(
            ["training", "set-up, s", "first epoch, s", "step, ms", "export, s", "peak, MB"],
            [_times(name, times) for name, times in figures["contenders"].items()],
        )
        text += table(
            ["step to step", "ratio", "quartiles", "turns", "first epoch"],
            [_ratio(name, pair) for name, pair in figures["pairs"].items()],
        )
        for name, reason in figures["left_out"].items():
            text += [f"{name} is left out: {reason.replace('|', '/')}", ""]
    return text


def _times(name, times):
    def seconds(kind, form="{:.2f}", factor=1):
        values = [factor * value for value in times[kind]]
        middle = form.format(statistics.median(values))
        if len(values) == 1:
            return middle
        return f"{middle} ({form.format(min(values))} to {form.format(max(values))})"

    peak = f"{times['peak_bytes'] / 2**20:,.0f}" if "peak_bytes" in times else ""
    step = f"{1e3 * statistics.median(times['step_s']):.1f}"
    if len(times["step_s"]) > 1:
        lower, _, upper = (1e3 * value for value in statistics.quantiles(times["step_s"], n=4))
        step += f" ({lower:.1f} to {upper:.1f})"
    return [name, seconds("set_up_s"), seconds("first_epoch_s"), step, seconds("export_s"), peak]


def _ratio(name, pair):
    quartiles = "{:.3f} to {:.3f}".format(*pair["step_quartiles"])
    return [name, f"{pair['step']:.3f}x", quartiles, pair["turns"], f"{pair['first_epoch']:.2f}x"]
