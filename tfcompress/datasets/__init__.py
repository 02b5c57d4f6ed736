"""Small real data sets that the package ships, for its examples and its quickstart."""

from tfcompress.datasets import sign_digits

__all__ = ["sign_digits"]
