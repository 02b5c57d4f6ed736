"""What a training step reads and changes besides the model: constraints, sums of gradients, counts.

TensorFlow and PyTorch reach any variable from a step. Keras's JAX step changes only the state that
it is handed: the variables of the model, its metrics and its optimizer. What else a step reads and
changes travels as the last variables of the optimizer, and is not saved with it.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import keras
from keras.src.backend.common.stateless_scope import get_stateless_scope

from tfcompress.backends import runs_eagerly, runs_on
from tfcompress.compat.keras_attributes import (
    get_untracked,
    remove_untracked,
    replaced_attributes,
    set_untracked,
)

_CARRIED = "_carried_variables"
_WATCHED = "_watched_variables"


def innermost_optimizer(optimizer: keras.Optimizer) -> keras.Optimizer:
    """Return the optimizer that updates the weights, inside any that scale the loss."""
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer


def skips_steps(optimizer: keras.Optimizer) -> bool:
    """Return whether an optimizer scales the loss, and skips steps whose gradients overflow."""
    return hasattr(optimizer, "inner_optimizer")


def averages_of(model: keras.Model) -> dict[int, keras.Variable]:
    """Return the moving averages that the optimizer keeps, by the id of the weight."""
    if model.optimizer is None:
        return {}
    optimizer = innermost_optimizer(model.optimizer)
    averages = getattr(optimizer, "_model_variables_moving_average", ())
    return dict(zip(map(id, optimizer._trainable_variables), averages, strict=False))


def batches_seen(model: keras.Model) -> int:
    """Return the number of batches that a model's optimizer has seen.

    ``optimizer.iterations`` counts sums of ``gradient_accumulation_steps`` batches. In an epoch of
    JAX the count is read where it is: to bring all variables up to date at each step takes long.
    """
    return _present_count(model, innermost_optimizer(model.optimizer)._iterations)


def updates_made(model: keras.Model) -> int:
    """Return ``optimizer.iterations`` as a number, in an epoch of JAX too."""
    optimizer = model.optimizer
    count = _present_count(model, optimizer._iterations)
    return count // (optimizer.gradient_accumulation_steps or 1)


def _present_count(model, count):
    """Read a count of the optimizer, in an epoch of JAX where it is."""
    state = getattr(model, "_jax_state", None) or {}
    if "optimizer_variables" in state and not model._jax_state_synced:
        position = [v is count for v in model.optimizer.variables].index(True)
        return int(state["optimizer_variables"][position])
    return int(keras.ops.convert_to_numpy(count))


def waits_to_count(model: keras.Model) -> bool:
    """Tell whether ``batches_seen`` has to wait for a step: in an epoch of JAX it runs aside."""
    return runs_on("jax") and not getattr(model, "_jax_state_synced", True)


def bring_up_to_date(model: keras.Model) -> None:
    """Give a model's variables their present values; JAX's next step then starts from them."""
    if runs_on("jax"):
        model.jax_state_sync()


def iterations_in(model: keras.Model, state: list) -> Any:
    """Return the optimizer's count of updates in a step; ``state`` is what JAX's step is handed."""
    optimizer = model.optimizer
    if not state:
        return optimizer.iterations
    _, _, values, _ = state[0]
    with keras.StatelessScope(list(zip(optimizer.variables, values, strict=True))):
        count = optimizer.iterations
        return count.value if isinstance(count, keras.Variable) else count


def watch_updates(
    optimizer: keras.Optimizer, watch: Callable, changes: Iterable[keras.Variable] = ()
) -> None:
    """Let a function see each gradient that an optimizer applies, until ``unwatch_updates``.

    It takes effect when the training step is traced.

    Args:
        optimizer: one that updates weights; see ``innermost_optimizer``.
        watch: takes (gradient, variable), before the update.
        changes: the variables that it assigns to.
    """
    unwatch_updates(optimizer)
    at_once = runs_on("torch")  # PyTorch updates all variables in one call
    name = "_backend_update_step" if at_once else "update_step"
    update = getattr(optimizer, name)

    def watched(gradients: Any, variables: Any, learning_rate: Any) -> Any:
        updates = [(gradients, variables)]
        if at_once:
            updates = list(zip(gradients, variables, strict=True))
        for gradient, variable in updates:
            watch(gradient, variable)
        return update(gradients, variables, learning_rate)

    set_untracked(optimizer, name, watched)
    set_untracked(optimizer, _WATCHED, list(changes))


def unwatch_updates(optimizer: keras.Optimizer) -> None:
    """Leave an optimizer as it was; steps traced before are still watched."""
    for name in ("update_step", "_backend_update_step", _WATCHED):
        remove_untracked(optimizer, name)


def carry_state(model: keras.Model) -> None:
    """Let the training steps of a model change the variables of constraints and watches.

    A constraint has its own as ``state``, by name, and the one that it contains as ``constraint``.
    """
    if not runs_on("jax"):
        return

    def make_train_function(force: bool = False) -> None:
        _carry(model)
        type(model).make_train_function(model, force)

    set_untracked(model, "make_train_function", make_train_function)


def _carry(model: keras.Model) -> None:
    """Make the optimizer hold the present variables of constraints and watches, at its end."""
    optimizer = innermost_optimizer(model.optimizer)
    carried = {id(v): v for v in get_untracked(optimizer, _WATCHED, ())}
    for variable in model.trainable_variables:
        constraint = variable.constraint
        while constraint is not None:
            carried.update((id(v), v) for v in getattr(constraint, "state", {}).values())
            constraint = getattr(constraint, "constraint", None)
    before = set(map(id, get_untracked(optimizer, _CARRIED, ())))
    optimizer._variables[:] = [v for v in optimizer._variables if id(v) not in before]
    optimizer._variables.extend(carried.values())
    set_untracked(optimizer, _CARRIED, list(carried.values()))
    for outer in {id(o): o for o in (model.optimizer, optimizer)}.values():
        for name in ("save_own_variables", "load_own_variables"):
            set_untracked(outer, name, functools.partial(_without_carried, outer, optimizer, name))


def _without_carried(
    outer: keras.Optimizer, optimizer: keras.Optimizer, name: str, store: Any
) -> None:
    """Save or load an optimizer as if it carried nothing."""
    carried = set(map(id, get_untracked(optimizer, _CARRIED, ())))
    own = [v for v in optimizer._variables if id(v) not in carried]
    with replaced_attributes(optimizer, _variables=own):
        getattr(type(outer), name)(outer, store)


def assign_in_step(variable: keras.Variable, value: Any) -> None:
    """Assign to a variable from a training step; raise RuntimeError if the step would lose it."""
    scope = get_stateless_scope()
    if runs_on("jax") and scope is not None and scope.get_current_value(variable) is None:
        raise RuntimeError(
            f"Under JAX, a training step cannot change {variable.name!r}: the model that is fitted "
            "holds the compressed one, which was compressed by itself. Compress the model that you "
            "call `fit` on. Received: a variable that the optimizer does not carry"
        )
    variable.assign(value)


def reads_stored_values() -> bool:
    """Tell whether variables read as they are stored: not in a graph, nor in a step of JAX."""
    return runs_eagerly() and get_stateless_scope() is None


class _Carrier:
    """Holds a variable where Keras's layers hold the states of their random generators."""

    def __init__(self, variable: keras.Variable):
        self.state = variable


def carry_in_loss(model: keras.Model, variable: keras.Variable) -> None:
    """Let the loss of a model's training step read a variable as it is at that step."""
    if runs_on("jax"):
        model._seed_generators.append(_Carrier(variable))


def drop_from_loss(model: keras.Model, variable: keras.Variable) -> None:
    """Undo ``carry_in_loss``."""
    held = model._seed_generators
    held[:] = [one for one in held if not isinstance(one, _Carrier) or one.state is not variable]
