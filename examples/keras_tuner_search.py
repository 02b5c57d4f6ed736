"""Let KerasTuner choose width and sparsity by what the int8 file reaches, not the float model.

pip install keras-tuner tensorboard
python examples/keras_tuner_search.py            # some minutes on two cores
python examples/keras_tuner_search.py --smoke    # seconds, to see that it runs
"""

import sys

import keras
import keras_tuner
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite
from keras_callbacks import DeployedAccuracy, MagnitudePruning
from tfcompress.datasets import sign_digits

SMOKE = "--smoke" in sys.argv
EPOCHS, TRIALS = (1, 1) if SMOKE else (15, 6)

(x_train, y_train), (x_test, y_test) = sign_digits.load_data()
x_train, x_test = (x.astype("float32")[:, ::2, ::2] / 255 for x in (x_train, x_test))
if SMOKE:
    x_train, y_train, x_test, y_test = x_train[:64], y_train[:64], x_test[:64], y_test[:64]
# A part of the training data decides; the test data is for the end.
x_chosen, y_chosen = x_train[::5], y_train[::5]


class DeployedModel(keras_tuner.HyperModel):
    """A quantization-aware network, pruned while it trains."""

    def build(self, hp):
        """Build and compile the network of a trial."""
        width = hp.Int("width", 8, 24, step=8)
        hp.Choice("sparsity", [0.5, 0.7, 0.9])  # for `fit`
        layers = [keras.Input((32, 32, 3))]
        for filters in (width, 2 * width, 4 * width):
            layers += [kl.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)]
            layers += [kl.BatchNormalization(momentum=0.9), kl.ReLU()]
        net = keras.Sequential([*layers, kl.GlobalAveragePooling2D(), kl.Dense(10)])
        quantized = tfc.quantize_aware(net)
        quantized.compile(
            keras.optimizers.Adam(2e-3),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=False,
        )
        return quantized

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        """Train, and convert the model at the end to see what its file reaches."""
        steps = EPOCHS * (len(x_train) // 32)
        pruning = MagnitudePruning(
            tfc.PolynomialDecay(0.0, hp["sparsity"], 0, max(1, steps // 2), 3, 10)
        )
        deployed = DeployedAccuracy((x_chosen, y_chosen), every=EPOCHS)
        history = model.fit(*args, callbacks=[pruning, deployed, *callbacks], **kwargs)
        place = hp["width"], hp["sparsity"]
        files[place] = export_tflite(
            model, f"tuned_{place[0]}_{place[1]}.tflite", validation_data=(x_test, y_test)
        )
        accuracy = history.history["val_deployed_accuracy"][-1]
        # A point of accuracy is worth 2 KB of download.
        return {"score": accuracy - files[place].gzip_size / 2e5}


files: dict = {}  # by trial and epochs
tuner = keras_tuner.RandomSearch(
    DeployedModel(),
    objective=keras_tuner.Objective("score", "max"),
    max_trials=TRIALS,
    directory="tuner",
    overwrite=True,
    seed=0,
)
tuner.search(x_train, y_train, epochs=EPOCHS, verbose=0)
best = tuner.get_best_hyperparameters()[0]
result = files[best["width"], best["sparsity"]]
print(result.report)
print(f"{best.values}: accuracy {result.report.agreement.metric:.4f}, {result.gzip_size:,} bytes")
