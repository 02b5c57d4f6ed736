"""The section about answers: confusion matrix, classes, and the examples whose answer changed."""

import collections
import functools

from tfcompress.report import formats
from tfcompress.report.answers import Answers, ChangedExample, ClassFindings
from tfcompress.report.document import Block, Cell, Column, Figure, Figures, Section, Table, Text
from tfcompress.report.findings import Findings
from tfcompress.report.formats import TERMS
from tfcompress.report.pictures import inline_image
from tfcompress.report.plots import draw_confusions

_DRAWN = 16  # classes of a confusion matrix
_LISTED = 100  # classes of the table
_NAMED = 3  # confusions in words


def answers_section(findings: Findings) -> Section | None:
    """Show what the file answers, beside the labels and the reference."""
    answers = findings.answers
    if answers is None:
        return None
    blocks: list[Block] = [Text(_summary(answers))]
    if answers.no_matrix is not None:
        blocks.append(Text(f"There is no confusion matrix: {answers.no_matrix}."))
    if answers.confusions:
        blocks.append(Figures((_matrix(answers),)))
    if answers.classes:
        blocks.append(_class_table(answers))
    if answers.shown:
        blocks.append(Text(_what_is_shown(answers)))
        blocks.append(Figures(tuple(map(_example, answers.shown)), small=True))
    return Section("Answers", tuple(blocks))


def _summary(answers: Answers) -> str:
    """Say how many answers changed, and how."""
    if answers.error is not None:
        text = f"The mean absolute error is {answers.error:.4g}"
        before = answers.reference_error
        return text + (f"; that of {answers.reference} is {before:.4g}." if before else ".")
    count = f"{formats.count(answers.count)} {_unit(answers)}"
    if answers.changed is None:
        return f"The outputs are judged on {count}."
    text = (
        f"The file answers {formats.count(answers.changed)} of {count} differently from "
        f"{answers.reference}"
    )
    if answers.became_wrong is None or not answers.changed:
        return text + "."
    others = answers.changed - answers.became_wrong - answers.became_right
    return text + (
        f": {formats.count(answers.became_wrong)} became wrong, "
        f"{formats.count(answers.became_right)} became right, "
        f"{formats.count(others)} changed from one wrong answer to another."
    )


def _what_is_shown(answers: Answers) -> str:
    what = "The examples that changed most" if answers.kind != "numbers" else "What moved most"
    marked = " Positions that changed are orange." if answers.kind == "positions" else ""
    return f"{what}: the answer of {answers.reference}, then that of the file.{marked}"


def _unit(answers: Answers) -> str:
    return "positions" if answers.kind == "positions" else "examples"


def _matrix(answers: Answers) -> Figure:
    """Draw the classes that are confused, all of them if they are few."""
    wrong = [cell for cell in answers.confusions if cell[0] != cell[1]]
    wrong.sort(key=lambda cell: -cell[2])
    places = list(range(len(answers.classes)))
    title = "Confusion matrix"
    if len(places) > _DRAWN:
        times = collections.Counter()
        for label, answer, count in wrong:
            times[label] += count
            times[answer] += count
        places = sorted(place for place, _ in times.most_common(_DRAWN))
        title += f", the {len(places)} of {len(answers.classes)} classes most often confused"
    names = [each.name for each in answers.classes]
    said = "; ".join(f"{names[a]} taken for {names[b]}: {n}" for a, b, n in wrong[:_NAMED])
    unit = _unit(answers)
    counts = {(label, answer): count for label, answer, count in answers.confusions}
    draw = functools.partial(
        draw_confusions,
        [names[place] for place in places],
        [[counts.get((row, column), 0) for column in places] for row in places],
        "label" if answers.labeled else "model",
    )
    alternative = f"{title}, in {unit}. Most often confused: {said or 'nothing'}."
    return Figure(f"{title}, in {unit}", alternative, draw, wide=True)


def _class_table(answers: Answers) -> Table:
    """Make a table of the classes; the worst of many."""

    def share(part: int | None, whole: int) -> float | None:
        return None if part is None or not whole else part / whole

    def row(each: ClassFindings) -> tuple[Cell, ...]:
        before, after = share(each.reference_found, each.count), share(each.found, each.count)
        sure = share(each.found, each.answered)
        cells = [Cell(each.name), Cell(formats.count(each.count), each.count)]
        if compared:
            cells.append(_percent(before))
        cells.append(_percent(after))
        if compared:
            known = before is not None
            points = 100 * (after - before) if known else None
            text = formats.signed(f"{points:+.1f}") if points else "same"
            cells.append(Cell(text if known else formats.UNKNOWN, points))
        cells.append(_percent(sure))
        if overlap:
            cells.append(_percent(share(each.found, each.count + each.answered - each.found)))
        return tuple(cells)

    compared = answers.labeled and answers.classes[0].reference_found is not None
    overlap = answers.kind == "positions"
    noun = "label" if answers.kind == "labels" else "class"
    columns = [Column(noun, number=False), Column("count")]
    columns += [Column("float model", explanation=TERMS["Accuracy per class"])] * compared
    columns += [Column("this file", explanation=TERMS["Accuracy per class"])]
    columns += [Column("change, points")] * compared
    columns += [Column("precision", explanation=TERMS["Precision"])]
    columns += [Column("IoU", explanation=TERMS["IoU"])] * overlap
    caption, classes = f"Accuracy per {noun}, of {_unit(answers)}", list(answers.classes)
    if len(classes) > _LISTED:
        classes.sort(key=lambda each: each.found / each.count if each.count else 2.0)
        caption += f": the {_LISTED} worst of {len(classes)}"
    rows = tuple(map(row, classes[:_LISTED]))
    return Table(caption, tuple(columns), rows, sortable=len(classes) > _DRAWN)


def _percent(share: float | None) -> Cell:
    return Cell(formats.percent(share), share, share)


def _example(example: ChangedExample) -> Figure:
    title = f"{example.before} \N{RIGHTWARDS ARROW} {example.after}"
    label = "" if example.label is None else f", {example.label}"
    return Figure(
        title,
        f"example {example.index}: {title}{label}",
        lambda: "" if example.picture is None else inline_image(example.picture),
        note=f"#{example.index}{label}",
    )
