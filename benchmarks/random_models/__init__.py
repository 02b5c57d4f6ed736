"""Random valid Keras models, and what must hold for every one of them.

`vocabulary` has the layers and operations, `programs` puts them together as data that can shrink,
`checks` says what must hold, `search` numbers the models and finds the smallest that fails.
"""
