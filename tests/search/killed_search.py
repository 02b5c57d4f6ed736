"""A search to be killed: python killed_search.py MODEL DIRECTORY."""

import pathlib
import sys

import keras
from small_search import search

if __name__ == "__main__":
    model = keras.saving.load_model(sys.argv[1])
    search(model, pathlib.Path(sys.argv[2]), epochs=400, heartbeat=1)
