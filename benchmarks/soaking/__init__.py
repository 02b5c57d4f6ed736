"""The sections of `soak.py`: each measures, says what it measured as Markdown, and what failed."""
