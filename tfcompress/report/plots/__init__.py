"""Drawings of a report: one module for each kind, each gives inline SVG in the page's colours."""
