"""Export, bundle and report over and over: `python exporting_again.py FOLDER NAME SEED TIMES`.

Another process does so in the same folder with another model: both write one file, one page, and
bundles under one name each time.
"""

import pathlib
import sys

import keras
from small_trainings import data

import tfcompress as tfc
from exporters import export_tflite, write_bundle


def net(seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [keras.Input((8,), name="features"), keras.layers.Dense(6, name=f"layer_{seed}")]
    )


def bundle(path, folder, x):
    """Write a bundle, unless the other process was first."""
    try:
        write_bundle(path, folder, examples=x[:4])
    except OSError:
        return
    print(folder.name, flush=True)


def main():
    folder, name, seed, times = pathlib.Path(sys.argv[1]), *sys.argv[2:3], *map(int, sys.argv[3:])
    model, (x, _) = net(seed), data()
    own = folder / f"{name}.tflite"
    export_tflite(model, own, "int8", representative_data=x)
    findings = tfc.examine(own, runs=0, targets=[])
    for number in range(times):
        export_tflite(model, folder / "shared.tflite", "int8", representative_data=x)
        bundle(own, folder / f"bundle_{number}", x)
        tfc.write_report(findings, folder / "report")


if __name__ == "__main__":
    main()
