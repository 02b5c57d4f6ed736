"""What a file answers beside what its model answers: by class, and where the answers differ."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from exporters.task_metric import find_decision
from tfcompress.data import Inputs
from tfcompress.report.formats import percent
from tfcompress.report.pictures import draw_examples

_SHOWN = 16  # examples
_WRITTEN = 3  # numbers of an output


@dataclasses.dataclass(frozen=True)
class ClassFindings:
    """How often one class, or one label of several, is found; counts of examples or positions."""

    name: str
    count: int  # how many have it
    found: int  # how many of these the file finds
    answered: int  # how many the file takes for it
    reference_found: int | None  # how many of these the reference finds; None without one


@dataclasses.dataclass(frozen=True)
class ChangedExample:
    """An example that the file answers differently from the reference."""

    index: int  # its place in the data
    before: str  # what the reference answers
    after: str  # what the file answers
    label: str | None  # "label ...", or how much changed
    # uint8 (height, width, 3); None if the input is not an image.
    picture: np.ndarray | None = dataclasses.field(default=None, repr=False, compare=False)


@dataclasses.dataclass(frozen=True)
class Answers:
    """What the first output of a file answers.

    Attributes:
        kind: of the answers: that of ``Decision``, or "numbers".
        reference: the name of what they are compared with; None without one.
        count: how many there are: one for each example, or for each position of it.
        labeled: whether the data has labels; without, the reference's classes count as right.
        classes: each class or label; empty if the answers are numbers.
        confusions: right class, class that the file answers, and how often they met, if they did.
        no_matrix: why there is no confusion matrix; None if there is one.
        changed: how many differ from the reference's; None without one, or for numbers.
        became_wrong: how many of these only the reference answers right; None without labels.
        became_right: how many of these only the file answers right; likewise.
        shown: the examples that changed most.
        error: mean absolute error of the file, if labels and answers are numbers.
        reference_error: likewise that of the reference.
    """

    kind: str
    reference: str | None
    count: int
    labeled: bool
    classes: tuple[ClassFindings, ...] = ()
    confusions: tuple[tuple[int, int, int], ...] = ()
    no_matrix: str | None = None
    changed: int | None = None
    became_wrong: int | None = None
    became_right: int | None = None
    shown: tuple[ChangedExample, ...] = ()
    error: float | None = None
    reference_error: float | None = None


def find_answers(
    found: np.ndarray,
    wanted: np.ndarray | None,
    labels: np.ndarray | None,
    inputs: Inputs,
    reference: str | None = None,
    names: Sequence[str] = (),
) -> Answers:
    """Compare the answers of a file with labels, and with the answers of its reference.

    Args:
        found: the first output of the file, real numbers of shape (examples, ...).
        wanted: the same of the reference; None without one.
        labels: labels, or None.
        inputs: the examples, for pictures.
        reference: the reference's name.
        names: of the classes; where their number does not fit, classes are numbered.
    """
    scores, labeled = found if wanted is None else wanted, labels is not None
    if not labeled and wanted is not None and _has_classes(scores, names):
        labels = scores.argmax(-1)
    decision = find_decision(scores, labels)
    if isinstance(decision, str):
        return _of_numbers(found, wanted, labels, inputs, reference, decision)
    if len(names) != decision.classes:
        numbered = decision.kind == "labels" or scores.shape[-1] == decision.classes
        names = tuple(map(str, range(decision.classes))) if numbered else ("no", "yes")
    after, truth = _rows(decision.decide(found)), _rows(decision.labels)
    before = None if wanted is None else _rows(decision.decide(wanted))
    several, positions = decision.kind == "labels", decision.kind == "positions"
    answers = Answers(
        decision.kind,
        reference,
        after.size if positions else len(after),
        labeled,
        _by_class(truth, before, after, names, several),
        () if several else _confusions(truth, after, decision.classes),
        "an example can have several labels at once" if several else None,
    )
    if before is None:
        return answers
    differs = after != before
    if decision.kind == "class":  # a class with the same score is the same answer
        differs &= np.take_along_axis(found, before, 1) < found.max(1, keepdims=True)
    right = [(each == truth) for each in (before, after)]
    if positions:
        texts = [[f"{percent(share)} right" for share in each.mean(1)] for each in right]
        texts.append([f"{percent(share)} of the positions changed" for share in differs.mean(1)])
    else:
        texts = [_written(each, names, several) for each in (before, after, truth)]
        texts[2] = [f"label {text}" for text in texts[2]]
    order = np.lexsort((-_distances(found, wanted), -differs.mean(1)))
    shown = order[: differs.any(1).sum()]
    if not positions:
        differs, *right = (differs.any(1), *(each.all(1) for each in right))
    lost, gained = (differs & a & ~b for a, b in (right, right[::-1]))
    return dataclasses.replace(
        answers,
        changed=int(differs.sum()),
        became_wrong=int(lost.sum()) if labeled else None,
        became_right=int(gained.sum()) if labeled else None,
        shown=_shown(
            shown,
            texts[:2],
            texts[2] if labeled else None,
            inputs,
            differs if positions else None,
        ),
    )


def _has_classes(scores: np.ndarray, names: Sequence[str]) -> bool:
    """Return whether scores (examples, classes) are those of classes, as far as can be known."""
    if scores.ndim != 2 or scores.shape[1] < 2:
        return False
    shares = bool((scores >= 0).all() and np.allclose(scores.sum(1), 1, atol=0.02))
    return shares or len(names) == scores.shape[1]


def _rows(answers: np.ndarray) -> np.ndarray:
    return answers.reshape(len(answers), -1)


def _distances(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return how far each example's numbers moved, on average."""
    return np.abs(_rows(found).astype(np.float64) - _rows(wanted)).mean(1)


def _by_class(
    truth: np.ndarray,
    before: np.ndarray | None,
    after: np.ndarray,
    names: Sequence[str],
    several: bool,
) -> tuple[ClassFindings, ...]:
    """Count by class, or by label where each column is one."""

    def counts(answers: np.ndarray, where: np.ndarray | bool = True) -> list[int]:
        if several:
            return (answers * where).sum(0).tolist()
        where = np.broadcast_to(where, answers.shape)
        return np.bincount(answers[where], minlength=len(names)).tolist()

    reference = [None] * len(names) if before is None else counts(truth, before == truth)
    columns = counts(truth), counts(truth, after == truth), counts(after), reference
    return tuple(ClassFindings(*row) for row in zip(names, *columns, strict=True))


def _confusions(
    truth: np.ndarray, after: np.ndarray, classes: int
) -> tuple[tuple[int, int, int], ...]:
    cells, times = np.unique(truth.ravel() * classes + after.ravel(), return_counts=True)
    rows = zip(*np.divmod(cells, classes), times, strict=True)
    return tuple(tuple(map(int, row)) for row in rows)


def _written(answers: np.ndarray, names: Sequence[str], several: bool) -> list[str]:
    """Write the answer of each row."""
    if not several:
        return [names[answer] for answer in answers[:, 0]]
    return [", ".join(names[place] for place in np.flatnonzero(row)) or "none" for row in answers]


def _shown(
    order: np.ndarray,
    answers: Sequence[Sequence[str]],
    labels: Sequence[str] | None,
    inputs: Inputs,
    marks: np.ndarray | None = None,
) -> tuple[ChangedExample, ...]:
    """Describe the first examples of an order."""
    order = order[:_SHOWN].tolist()
    pictures = draw_examples(inputs, order, marks)
    return tuple(
        ChangedExample(
            index,
            answers[0][index],
            answers[1][index],
            None if labels is None else labels[index],
            picture,
        )
        for index, picture in zip(order, pictures, strict=True)
    )


def _of_numbers(
    found: np.ndarray,
    wanted: np.ndarray | None,
    labels,
    inputs: Inputs,
    reference: str | None,
    reason: str,
) -> Answers:
    """Show the examples whose numbers moved most, and the errors where labels are numbers."""
    fitting = isinstance(labels, np.ndarray) and labels.dtype.kind in "biuf"
    fitting = fitting and _rows(labels).shape == _rows(found).shape
    if fitting:
        labels = _rows(labels)
        if not ((labels == 0) | (labels == 1)).all():
            reason = "the labels are numbers, not classes"
    columns = [None if each is None else _rows(each) for each in (wanted, found)]
    errors = [
        float(np.abs(each.astype(np.float64) - labels).mean())
        if fitting and each is not None
        else None
        for each in columns
    ]
    shown = ()
    if wanted is not None:
        texts = [list(map(_numbers, each)) for each in columns]
        distances = _distances(found, wanted)
        order = np.argsort(-distances)[: np.count_nonzero(distances)]
        given = [f"label {_numbers(row)}" for row in labels] if fitting else None
        shown = _shown(order, texts, given, inputs)
    return Answers(
        "numbers",
        reference,
        len(found),
        fitting,
        no_matrix=reason,
        shown=shown,
        error=errors[1],
        reference_error=errors[0],
    )


def _numbers(row: np.ndarray) -> str:
    more = ", ..." if len(row) > _WRITTEN else ""
    return ", ".join(f"{number:.4g}" for number in row[:_WRITTEN]) + more
