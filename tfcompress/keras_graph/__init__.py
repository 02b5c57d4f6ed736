"""Reading Keras models: their layers, their kernels and the calls that they make."""
