"""Everything that Keras, TensorFlow, LiteRT and TFMOT do not promise to keep, in one package.

Their private modules and attributes are named here and nowhere else. Each is wrapped once, in a
function that says what it is for, and `tests/compat/` fails with that function's name when a new
release moves what is behind it.
"""
