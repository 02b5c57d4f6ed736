"""Where a model is rounded: read from what the converter makes of it."""
