"""What a report says: one module for each section, each from findings to blocks.

A section's function returns None where there is nothing to say.
"""
