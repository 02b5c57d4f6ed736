"""Random models as programs: plain data that says how a model is built, so that it can shrink.

A step reads a tensor that fits it, counted from the last one, and adds what it makes; one that fits
nothing adds nothing. So any list of steps is a model, and so is every part of it.
"""

import dataclasses
import math

import keras
import numpy as np
from hypothesis import strategies as st
from structure import fill

from random_models.blocks import BLOCKS
from random_models.vocabulary import JOINS, LAYERS, OPERATIONS

LARGEST = 2048  # values of an example in one tensor
TOKENS = 10
INPUTS = {
    "vector": ((6,), "float32"),
    "series": ((4, 5), "float32"),
    "image": ((6, 6, 3), "float32"),
    "narrow image": ((5, 8, 1), "float32"),
    "volume": ((4, 4, 4, 2), "float32"),
    "tokens": ((4,), "int32"),
    "masked tokens": ((4,), "int32"),
}
MORE_INPUTS = INPUTS | {
    "bytes": ((6, 6, 3), "uint8"),
    "long series": ((16, 3), "float32"),
    "square": ((8, 8, 4), "float32"),
    "number": ((1,), "float32"),
    "many tokens": ((12,), "int32"),
}
MODEL, LAYER, AGAIN = "a model", "a layer of its own", "again"
KINDS = (*LAYERS, *OPERATIONS, *JOINS, *JOINS, AGAIN, AGAIN, AGAIN)
MORE_KINDS = (*KINDS, *BLOCKS, *BLOCKS)


@dataclasses.dataclass(frozen=True)
class Step:
    """One layer, operation, join or block, or several in a model or layer of their own.

    Attributes:
        kind: a key of the vocabulary or of ``BLOCKS``, ``MODEL``, ``LAYER``, or ``AGAIN``: an
            earlier layer.
        source: which of the tensors that fit, counted from the last one.
        settings: which options.
        inner: the steps inside.
    """

    kind: str
    source: int = 0
    settings: tuple[int, ...] = (0,)
    inner: tuple["Step", ...] = ()


@dataclasses.dataclass(frozen=True)
class Program:
    """A model.

    Attributes:
        inputs: keys of ``MORE_INPUTS``.
        steps: what is computed.
        outputs: how many of the tensors that nothing reads are given out, at most.
    """

    inputs: tuple[str, ...]
    steps: tuple[Step, ...]
    outputs: int = 1


@st.composite
def steps(draw, kinds: tuple[str, ...] = KINDS, nested: bool = True) -> Step:
    """Return the strategy of a step of some kinds; one in twelve has steps inside, if it may."""
    kind = draw(st.sampled_from((*kinds, *(MODEL, LAYER) * 8) if nested else kinds))
    source = max(0, draw(st.integers(0, 7)) - 4)  # mostly the last
    settings = draw(st.tuples(*[st.integers(0, 11)] * 4))
    inside = st.lists(steps(kinds, nested=False), min_size=1, max_size=4).map(tuple)
    return Step(kind, source, settings, draw(inside) if kind in (MODEL, LAYER) else ())


def programs(longest: int, kinds: tuple[str, ...] = KINDS, inputs=tuple(INPUTS)):
    """Return the strategy of programs of 3 steps to so many, of some kinds of steps and inputs."""
    inputs = st.lists(st.sampled_from(inputs), min_size=1, max_size=2)
    several = st.lists(steps(kinds), min_size=3, max_size=longest)
    return st.builds(Program, inputs.map(tuple), several.map(tuple), st.integers(1, 3))


def build(program: Program) -> keras.Model:
    """Build the model of a program, with random weights.

    Args:
        program: inputs, steps and outputs.

    Returns:
        The model; one input or output is no list.
    """
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    inputs = [
        keras.Input(MORE_INPUTS[kind][0], dtype=MORE_INPUTS[kind][1], name=f"input_{number}")
        for number, kind in enumerate(program.inputs)
    ]
    builder = Builder([_as_floats(x, k) for x, k in zip(inputs, program.inputs, strict=True)])
    builder.take(program.steps)
    outputs = builder.ends()[-program.outputs :]
    model = keras.Model(_single(inputs), _single(outputs), name="random")
    fill(model, np.random.default_rng(0))
    return model


def _as_floats(x, kind):
    if x.dtype == "int32":
        return keras.layers.Embedding(TOKENS, 4, mask_zero=kind == "masked tokens")(x)
    return keras.layers.Rescaling(1 / 255)(x) if x.dtype == "uint8" else x


def _single(tensors):
    return tensors[0] if len(tensors) == 1 else tensors


def examples(model: keras.Model, count: int, seed: int) -> list[np.ndarray]:
    """Return random inputs of a model, in the order of its inputs."""
    generator = np.random.default_rng(seed)
    ends = {"int32": TOKENS, "uint8": 256}
    return [
        generator.integers(0, ends[x.dtype], (count, *x.shape[1:])).astype(x.dtype)
        if x.dtype in ends
        else generator.standard_normal((count, *x.shape[1:]), dtype=np.float32)
        for x in model.inputs
    ]


class Builder:
    """Runs steps on tensors, symbolic or not.

    Args:
        tensors: what the steps can read.
        layers: the layers that a builder made for the same steps, to be called again; new ones when
            not given.
    """

    def __init__(self, tensors, layers=None):
        self.tensors, self.layers = list(tensors), []
        self._known = None if layers is None else iter(layers)
        self._read = set()

    def take(self, steps, alone: bool = False):
        """Run steps; ``alone`` only layers and operations of one tensor."""
        for step in steps:
            if alone and step.kind not in LAYERS and step.kind not in OPERATIONS:
                continue
            for read, made in self._attempts(step):
                if made is not None and _is_fine(made):
                    self._read.update(map(id, read))
                    self.tensors.append(made)
                    break

    def ends(self):
        """Return the tensors that nothing reads."""
        return [each for each in self.tensors if id(each) not in self._read]

    def _attempts(self, step):
        """Try what a step can read, what it is most about first."""
        pick = Pick(step.settings)
        if step.kind in JOINS:
            x = self.tensors[-1 - step.source % len(self.tensors)]
            for y in reversed(self.tensors):
                if y is not x:
                    yield (x, y), JOINS[step.kind](x, y, Pick(step.settings))
        elif step.kind == AGAIN:
            for layer, shape in self.layers[step.source :]:
                for x in reversed(self.tensors):
                    if layer is not None and tuple(x.shape) == shape:
                        yield (x,), layer(x)
        elif step.kind in OPERATIONS or step.kind in BLOCKS:
            x = self.tensors[-1 - step.source % len(self.tensors)]
            yield (x,), (OPERATIONS | BLOCKS)[step.kind](x, pick)
        else:
            fitting = [x for x in self.tensors if _takes(step.kind, x)]
            if fitting:
                x = fitting[-1 - step.source % len(fitting)]
                layer = _layer(step, x, pick) if self._known is None else next(self._known)
                self.layers.append((layer, tuple(x.shape)))
                if layer is not None:
                    yield (x,), layer(x)


class Pick:
    """Chooses among options by the settings of a step, one after another."""

    def __init__(self, settings):
        self._settings, self._used = settings, 0

    def __call__(self, *options):
        number = self._settings[self._used % len(self._settings)]
        self._used += 1
        return options[number % len(options)]


def _takes(kind, x):
    return kind in (MODEL, LAYER) or len(x.shape) in LAYERS[kind][0]


def _is_fine(x):
    sizes = tuple(x.shape)[1:]
    known = None not in sizes and not getattr(x, "sparse", False)
    return known and 1 <= len(sizes) <= 4 and 0 < math.prod(sizes) <= LARGEST


def _layer(step, x, pick):
    """Make the layer of a step that is to read a tensor; None where it does not fit."""
    if step.kind == LAYER:
        return Steps(step.inner)
    if step.kind == MODEL:
        inputs = keras.Input(x.shape[1:])
        builder = Builder([inputs])
        builder.take(step.inner)
        return keras.Model(inputs, builder.tensors[-1])
    return LAYERS[step.kind][1](x, pick)


@keras.saving.register_keras_serializable(package="random_models")
class Steps(keras.layers.Layer):
    """A layer of one's own, whose ``call`` runs steps."""

    def __init__(self, steps, **kwargs):
        super().__init__(**kwargs)
        self.steps = tuple(each if isinstance(each, Step) else step_of(each) for each in steps)

    def build(self, shape):
        builder = Builder([keras.KerasTensor(shape)])
        builder.take(self.steps, alone=True)
        self.parts = [layer for layer, _ in builder.layers]
        self.made = tuple(builder.tensors[-1].shape)

    def call(self, x):
        builder = Builder([x], self.parts)
        builder.take(self.steps, alone=True)
        return builder.tensors[-1]

    def get_config(self):
        steps = [dataclasses.asdict(step) for step in self.steps]
        return {**super().get_config(), "steps": steps}


def step_of(config: dict) -> Step:
    """Return a step from what ``dataclasses.asdict`` made of it, or JSON."""
    inner = tuple(map(step_of, config["inner"]))
    return Step(config["kind"], config["source"], tuple(config["settings"]), inner)


def program_of(config: dict) -> Program:
    """Return a program from what ``dataclasses.asdict`` made of it, or JSON."""
    steps = tuple(map(step_of, config["steps"]))
    return Program(tuple(config["inputs"]), steps, config["outputs"])
