"""A picture of a file's operations as SVG, drawn without any library."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporters.inspection import OperationReport

_ROW, _BOX, _LEFT, _BAR, _TOP = 26, 20, 110, 160, 54
_NAME_WIDTH = 430
_SIZE_AT = _LEFT + _NAME_WIDTH + 20
_MACS_AT = _SIZE_AT + _BAR + 90
_WIDTH = _MACS_AT + _BAR + 90
_COLOURS = {"float": "#d95f59", "integer": "#5b8db8", "packed": "#5aa469", "other": "#9a9a9a"}


def draw(operations: Sequence["OperationReport"], title: str) -> str:
    """Draw operations from top to bottom, with bars for bytes and multiply-accumulates."""
    height = _TOP + _ROW * max(1, len(operations)) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="20" font-size="15">{escape(title)}</text>',
        f'<text x="{_SIZE_AT}" y="44">bytes</text>',
        f'<text x="{_MACS_AT}" y="44">multiply-accumulates</text>',
        *_skips(operations),
    ]
    most_bytes = max((operation.size for operation in operations), default=0)
    most_macs = max((operation.macs for operation in operations), default=0)
    for row, operation in enumerate(operations):
        top = _TOP + row * _ROW
        label = f"{operation.name} v{operation.version}"
        if operation.layer:
            label += f" · {operation.layer[-36:]}"
        parts += [
            f'<rect x="{_LEFT}" y="{top}" width="{_NAME_WIDTH}" height="{_BOX}" rx="3" '
            f'fill="{_COLOURS[_kind(operation)]}" fill-opacity="0.25" '
            f'stroke="{_COLOURS[_kind(operation)]}"/>',
            f'<text x="{_LEFT + 6}" y="{top + 14}">{escape(label)}</text>',
            *_bar(_SIZE_AT, top, operation.size, most_bytes),
            *_bar(_MACS_AT, top, operation.macs, most_macs),
        ]
    parts += [*_legend(height), "</svg>"]
    return "\n".join(parts) + "\n"


def _kind(operation: "OperationReport") -> str:
    if operation.float_:
        return "float"
    if operation.weights_dtype in ("INT4", "INT2", "UINT4"):
        return "packed"
    return "integer" if (operation.dtype or "").startswith(("INT", "UINT")) else "other"


def _bar(left: int, top: int, value: int, most: int) -> list[str]:
    if not value or not most:
        return []
    width = max(1.0, _BAR * value / most)
    return [
        f'<rect x="{left}" y="{top + 3}" width="{width:.1f}" height="{_BOX - 6}" fill="#777"/>',
        f'<text x="{left + width + 5:.1f}" y="{top + 14}">{value:,}</text>',
    ]


def _skips(operations: Sequence["OperationReport"]) -> list[str]:
    """Draw connections; those that skip operations bow out to the left."""
    made_by: dict[int, int] = {}
    lines = []
    for row, operation in enumerate(operations):
        for source in (made_by[tensor] for tensor in operation.inputs if tensor in made_by):
            start, end = _TOP + source * _ROW + _BOX, _TOP + row * _ROW
            if row == source + 1:
                path = f"M {_LEFT + 20} {start} V {end}"
            else:
                bow = _LEFT - min(_LEFT - 6, 10 + 6 * (row - source))
                path = f"M {_LEFT} {start - 6} C {bow} {start}, {bow} {end}, {_LEFT} {end + 6}"
            lines.append(f'<path d="{path}" fill="none" stroke="#555"/>')
        made_by.update(dict.fromkeys(operation.outputs, row))
    return lines


def _legend(height: int) -> list[str]:
    words = {"integer": "integer", "packed": "4-bit or less", "float": "float", "other": "other"}
    lefts = range(_LEFT, _LEFT + 120 * len(words), 120)
    return [
        f'<rect x="{left}" y="{height - 20}" width="12" height="12" fill="{_COLOURS[kind]}"/>'
        f'<text x="{left + 18}" y="{height - 10}">{word}</text>'
        for left, (kind, word) in zip(lefts, words.items(), strict=True)
    ]
