"""Shared set-up: a quiet, seeded TensorFlow, and the optional data beside the project."""

import gc
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import pytest

# What benchmarks measure with, and tests too.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "benchmarks"))
SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_finish():
    """Look for garbage less often: the many objects of TensorFlow's graphs make it dear."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of real models and data that may lie beside the project."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the shared models and data in {SHARED.name}/ beside the project")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def two_devices():
    """Split the processor into two logical devices, for the tests of distribution."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(scope="session", autouse=True)
def light_batches():
    """Feed arrays to ``fit`` by a plain dataset."""
    # Imported here: what hands the tests out to workers needs no Keras.
    from compat.light_batches import feed_lightly

    with pytest.MonkeyPatch.context() as patch:
        feed_lightly(patch)
        yield


@pytest.fixture(scope="session")
def two_replicas(two_devices):
    """One strategy over both devices, for all tests of a process.

    TensorFlow numbers the collectives of every strategy from the same start, so that those of two
    strategies over the same devices are taken for each other.
    """
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture(scope="module", autouse=True)
def light_seeds():
    """Set TensorFlow's seed once a module, unless a test draws from its generator."""
    from compat.light_seeds import seed_lightly

    with pytest.MonkeyPatch.context() as patch:
        seed_lightly(patch)
        yield


@pytest.fixture(autouse=True)
def seeded():
    """Seed Python, NumPy and Keras anew for every test."""
    import keras

    keras.utils.set_random_seed(0)
