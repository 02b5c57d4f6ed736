"""Whether a file computes what it should: numbers for whole outputs and for every operation."""
