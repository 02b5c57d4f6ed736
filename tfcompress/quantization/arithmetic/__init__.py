"""The numbers of quantization: grids, ranges and steps, as pure functions of tensors."""
