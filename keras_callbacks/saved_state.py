"""State of a callback that travels in the files that Keras saves during training.

``BackupAndRestore`` and ``ModelCheckpoint`` save what they find by walking over the attributes of
the model. While a callback trains a model, a small saveable object stands among them. It adds
nothing to the model's weights, and a model without it reads the same file: Keras loads what the
model has, and passes over the rest.
"""

from collections.abc import Callable, Mapping

import keras
import numpy as np

from tfcompress.compat.keras_attributes import get_untracked, remove_untracked, set_untracked
from tfcompress.compat.keras_saving import SaveableState

_ATTRIBUTE = "_callback_states"
_SAVING = ("save", "save_weights")


class SavedState(SaveableState):
    """One callback's entry in the files of a model.

    Args:
        read: returns the state to save, arrays by name.
        bring_up_to_date: called before the model is saved, whichever callback saves it and
            wherever that one stands in the list of callbacks.
        note_file: called with the path of each file that the model was saved to.

    Attributes:
        loaded: the arrays found in the last file that the model loaded; None where it had none.
        training: whether a training with the callback is under way.
    """

    def __init__(
        self,
        read: Callable[[], Mapping],
        bring_up_to_date: Callable[[], None],
        note_file: Callable[[str], None],
    ):
        self._read = read
        self._bring_up_to_date = bring_up_to_date
        self._note_file = note_file
        self.loaded: dict[str, np.ndarray] | None = None
        self.training = False
        self._claims: set[str] = set()

    def save_own_variables(self, store):
        """Write the state; called by Keras."""
        if self.training:
            for name, value in self._read().items():
                store[name] = value

    def load_own_variables(self, store):
        """Keep what the file holds; called by Keras."""
        names = list(store.keys())
        self.loaded = {name: np.asarray(store[name]) for name in names} or None

    def attach(self, model: keras.Model) -> None:
        """Stand among the attributes of a model, for a training that is about to begin."""
        self.loaded = None
        self.training = False
        states = get_untracked(model, _ATTRIBUTE, [])
        set_untracked(model, _ATTRIBUTE, states)
        # A fit that was interrupted by an exception left its entries behind: it is over.
        states[:] = [state for state in states if not state.training and state is not self]
        states.append(self)

        def save_own_variables(store):
            for state in states:
                if state.training:
                    state._bring_up_to_date()
            type(model).save_own_variables(model, store)

        # Keras calls this first when it saves a model.
        set_untracked(model, "save_own_variables", save_own_variables)
        for name in _SAVING:
            set_untracked(model, name, _noting(model, name, states))

    def claim(self, model: keras.Model, kernels: set[str]) -> None:
        """Begin a training that changes the kernels of these paths.

        Raises:
            ValueError: another callback of the same training changes one of them too.
        """
        for other in get_untracked(model, _ATTRIBUTE):
            both = other._claims & kernels
            if other.training and both:
                raise ValueError(
                    "Two callbacks cannot set the sparsity of one kernel: give each its own "
                    f"`layers=`. Received twice: {sorted(both)}"
                )
        self._claims = kernels
        self.training = True

    def detach(self, model: keras.Model) -> None:
        """Leave the model as it was."""
        self.training = False
        states = get_untracked(model, _ATTRIBUTE, [])
        if self in states:
            states.remove(self)
        if not states:
            for name in (_ATTRIBUTE, "save_own_variables", *_SAVING):
                remove_untracked(model, name)


def _noting(model, name, states):
    """Return a model's method that saves it, made to note the file."""

    def save(filepath, *args, **kwargs):
        getattr(type(model), name)(model, filepath, *args, **kwargs)
        for state in states:
            if state.training:
                state._note_file(str(filepath))

    return save
