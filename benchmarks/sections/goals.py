"""What a figure must reach, and whether it does."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Goal:
    """A figure beside what it must reach.

    Attributes:
        what: what was measured.
        wanted: what it must reach, in words.
        measured: the figure, with its unit.
        spread: quartiles, deviation or the like; empty where there is none.
        reached: whether it does.
    """

    what: str
    wanted: str
    measured: str
    spread: str
    reached: bool


def at_most(what, limit, value, form="{:.2f}", spread=""):
    """Return the goal that a value is no larger than a limit; ``form`` writes both."""
    wanted = f"at most {form.format(limit)}"
    return Goal(what, wanted, form.format(value), spread, value <= limit)


def at_least(what, limit, value, form="{:.2f}", spread=""):
    """Return the goal that a value is no smaller than a limit."""
    wanted = f"at least {form.format(limit)}"
    return Goal(what, wanted, form.format(value), spread, value >= limit)


def points_over(what, mine, other, limit=0):
    """Return the goal that an accuracy is so many points over another one, rows of records both."""
    points = 100 * (mine["accuracy"] - other["accuracy"])
    spread = f"deviations {100 * mine['deviation']:.2f} and {100 * other['deviation']:.2f}"
    return Goal(what, f"at least {limit}", f"{points:+.2f}", spread, points >= limit)


def measured(rows):
    """Return the rows that are not of a peer that was left out."""
    return [row for row in rows if "left_out" not in row]


def all_rows(found, parts):
    """Return the rows of several parts, of those that were measured."""
    return [row for part in parts for row in found.get(part, ())]


def left_out(rows):
    """Return lines that say why peers were left out."""
    reasons = {row["method"]: row["left_out"] for row in rows if "left_out" in row}
    return [f"{method} is left out: {reason}.\n" for method, reason in reasons.items()]


def verdict(goal):
    """Return what the page says of it: what falls short stands out in red."""
    return "reached" if goal.reached else '<b style="color:red">falls short</b>'


def table(headings, rows):
    """Return the lines of a Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return ["", *("| " + " | ".join(map(str, line)) + " |" for line in lines), ""]
