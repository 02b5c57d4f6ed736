"""The data of `fit`: examples, representative data and validation data."""
