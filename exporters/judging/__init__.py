"""What devices make of a file, and rewriting it until they take it."""
