"""Folders that carry a model, its proof and code to the device."""
