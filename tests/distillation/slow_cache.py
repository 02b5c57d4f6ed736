"""Fill a teacher cache slowly, for a test that kills this program halfway.

Usage: slow_cache.py MODEL.keras DATA.npy FOLDER SECONDS_PER_BATCH
"""

import sys
import time

import keras
import numpy as np

from tfcompress.distillation import cache as teacher_cache
from tfcompress.distillation import cache_teacher


def main(model_path, data_path, folder, delay):
    teacher_cache._SECONDS_BETWEEN_SAVES = 0.0
    model = keras.saving.load_model(model_path)
    hash_examples = teacher_cache.hash_examples

    def slowly(batch):
        time.sleep(float(delay))
        return hash_examples(batch)

    teacher_cache.hash_examples = slowly
    cache_teacher(model, np.load(data_path), folder, batch_size=10, progress=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
