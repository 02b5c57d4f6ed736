"""How long files take and how much memory."""
