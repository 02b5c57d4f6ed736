"""A file of results that grows by a row as each piece of work is done.

An interrupted benchmark finds there what it need not do again.
"""

import json
import pathlib


class FinishedRows:
    """The rows of a file of JSON lines.

    A last line that an interruption cut short is taken off the file.

    Args:
        path: the file; ``None`` keeps the rows in memory alone.
        keys: the names of the fields that tell pieces of work apart.
    """

    def __init__(self, path, keys):
        self._path = pathlib.Path(path) if path else None
        self._keys = keys
        self.rows = []
        if self._path and self._path.exists():
            text = self._path.read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1]
            if whole != text:
                self._path.write_text(whole, encoding="utf-8")
            self.rows = [json.loads(line) for line in whole.splitlines()]

    def find(self, **key):
        """Return the row of a piece of work, None if it is not done."""
        return next((row for row in self.rows if all(row[k] == key[k] for k in self._keys)), None)

    def add(self, **row):
        """Add the row of a finished piece of work."""
        self.rows.append(row)
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        return row

    def drop(self, unwanted):
        """Forget the rows that a function of a row returns true for, to do their work again."""
        self.rows = [row for row in self.rows if not unwanted(row)]
        if self._path:
            text = "".join(json.dumps(row) + "\n" for row in self.rows)
            self._path.write_text(text, encoding="utf-8")
