"""The sections of the page of benchmarks, one module each.

A section has a ``TITLE``, what it is ``ABOUT``, the ``PARTS`` of the run that it shows, and two
functions of {part: figures}, with the parts that were measured: ``goals`` and ``lines``.
"""

from . import (
    arm_kernels,
    combinations,
    coverage,
    distillation,
    each_backend,
    encoded_weights,
    ethos_u,
    export_time,
    fidelity,
    growth,
    micro_zoo,
    pareto,
    probability_heads,
    pruning_accuracy,
    pruning_after_training,
    quantization_accuracy,
    repair,
    structure,
    training_cost,
    vela_zoo,
)

SECTIONS = (
    training_cost,
    export_time,
    growth,
    pruning_accuracy,
    quantization_accuracy,
    probability_heads,
    distillation,
    combinations,
    pareto,
    fidelity,
    coverage,
    each_backend,
    structure,
    repair,
    pruning_after_training,
    arm_kernels,
    ethos_u,
    vela_zoo,
    encoded_weights,
    micro_zoo,
)
