"""Reading and editing .tflite files; nothing here imports TensorFlow or Keras."""
