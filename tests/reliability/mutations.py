"""Seeded damage to files: bytes, archives and JSON, so that every input can be made again."""

import io
import json
import zipfile

import numpy as np

_WORDS = (0, 1, 2, 3, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 1 << 20, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_VALUES = (None, True, -1, 0, 1 << 70, 0.5, float("nan"), float("inf"), "", "nonsense", [], {})
_MOST_BYTES = 64


def damaged_bytes(generator: np.random.Generator, seeds: list[bytes]) -> bytes:
    """Damage one of some files in one to three ways.

    Args:
        generator: where chance comes from.
        seeds: whole files to begin with.

    Returns:
        Bytes that may, or may not, still be such a file.
    """
    content = bytearray(seeds[generator.integers(len(seeds))])
    for _ in range(generator.integers(1, 4)):
        if len(content) < 8:
            break
        _DAMAGES[generator.integers(len(_DAMAGES))](generator, content, seeds)
    return bytes(content)


def _place(generator, content) -> int:
    return int(generator.integers(len(content)))


def _flip_bits(generator, content, seeds):
    for _ in range(generator.integers(1, 9)):
        content[_place(generator, content)] ^= 1 << int(generator.integers(8))


def _cut_off(generator, content, seeds):
    del content[_place(generator, content) :]


def _set_word(generator, content, seeds):
    """Overwrite an offset or a length: flatbuffers align them to four bytes."""
    place = int(generator.integers(len(content) // 4)) * 4
    word = _WORDS[generator.integers(len(_WORDS))]
    content[place : place + 4] = word.to_bytes(4, "little")


def _copy_word(generator, content, seeds):
    """Let a table point where another one does, backwards too: cycles come of it."""
    here, there = (int(place) * 4 for place in generator.integers(len(content) // 4, size=2))
    content[here : here + 4] = content[there : there + 4]


def _splice(generator, content, seeds):
    other = seeds[generator.integers(len(seeds))]
    content[_place(generator, content) :] = other[int(generator.integers(len(other))) :]


def _move_block(generator, content, seeds):
    begin = _place(generator, content)
    block = content[begin : begin + int(generator.integers(1, _MOST_BYTES))]
    if generator.integers(2):
        del content[begin : begin + len(block)]
    place = int(generator.integers(len(content) + 1))
    content[place:place] = block


_DAMAGES = (_flip_bits, _cut_off, _set_word, _copy_word, _splice, _move_block)


def damaged_archive(generator: np.random.Generator, seeds: list[bytes]) -> bytes:
    """Damage the files inside an archive and pack it soundly, or damage the archive itself.

    A checksum that fails stops a reader early: damage inside gets past it.

    Args:
        generator: where chance comes from.
        seeds: zip archives.

    Returns:
        Bytes of an archive, or of what was one.
    """
    if generator.integers(2):
        return damaged_bytes(generator, seeds)
    seed = seeds[generator.integers(len(seeds))]
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(seed)) as source, zipfile.ZipFile(stream, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if generator.integers(2):
                content = damaged_bytes(generator, [content])
            if generator.integers(8):
                target.writestr(zipfile.ZipInfo(name), content)  # without the present time
    return stream.getvalue()


def damaged_json(generator: np.random.Generator, seeds: list[bytes]) -> bytes:
    """Change a JSON document in one to three places: values, keys, nesting; or its bytes.

    Args:
        generator: where chance comes from.
        seeds: JSON documents.

    Returns:
        Bytes of a document, or of what was one.
    """
    chance = generator.integers(8)
    if chance == 0:
        return damaged_bytes(generator, seeds)
    if chance == 1:
        depth = int(generator.integers(1, 20_000))
        return b"[" * depth + b"]" * depth
    tree = json.loads(seeds[generator.integers(len(seeds))])
    for _ in range(generator.integers(1, 4)):
        tree = _changed(generator, tree)
    return json.dumps(tree).encode()


def _changed(generator, tree):
    """Return a tree with one of its values, or keys, changed."""
    if not isinstance(tree, dict | list) or not tree or not generator.integers(6):
        return _VALUES[generator.integers(len(_VALUES))]
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    key = keys[int(generator.integers(len(keys)))]
    kind = generator.integers(8)
    if kind == 0:
        del tree[key]
    elif kind == 1 and isinstance(tree, dict):
        tree["unknown"] = tree.pop(key)
    else:
        tree[key] = _changed(generator, tree[key])
    return tree
