"""What zeros and shared weights are worth on a microcontroller."""

from .goals import Goal, table

TITLE = "Encoded weights"
PARTS = ("encoded_weights",)
ABOUT = (
    "MobileNetV1-0.25 for 96x96 images with its initial weights, exported as int8; its kernels are "
    "encoded by `exporters.encode_weights` and decoded by TFLite Micro's operation DECODE. Flash "
    "is the size of the file. The arena is estimated. Both files run on 16 inputs in the "
    "interpreter of the package tflite-micro on this computer; the time is that of an inference "
    "with encoded kernels to one without."
)
DENSE = "dense"


def goals(found):
    """Return that smaller models take less flash than the dense one, with the same outputs."""
    rows = found.get(PARTS[0], [])
    if not rows:
        return []
    (dense,) = (row["dense_size"] for row in rows if row["model"] == DENSE)
    smaller = [row for row in rows if row["model"] != DENSE]
    differing, values = (sum(row[key] for row in rows) for key in ("differing", "values"))
    return [
        Goal("values that differ", "0", f"{differing} of {values}", "", differing == 0),
        *(
            Goal(
                f"flash, {row['model']}",
                "below dense",
                f"{row['size'] / dense:.2f}x",
                "",
                row["size"] < dense,
            )
            for row in smaller
        ),
    ]


def lines(found):
    """Return the table."""
    columns = ["model", "flash before", "flash", "arena before", "arena", "encodings", "time"]
    return table(
        columns,
        [
            [
                row["model"],
                *(f"{row[key]:,}" for key in ("dense_size", "size", "dense_arena", "arena")),
                ", ".join(row["encodings"]),
                f"{row['time']:.2f}x",
            ]
            for row in found[PARTS[0]]
        ],
    )
