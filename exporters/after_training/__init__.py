"""Quantizing a float file after training with ai-edge-quantizer: what the converter cannot make."""
