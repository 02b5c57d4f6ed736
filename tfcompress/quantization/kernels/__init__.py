"""What LiteRT's integer kernels compute, to the bit, as TensorFlow functions."""
