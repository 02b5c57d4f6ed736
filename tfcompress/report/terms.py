"""The words of reports, each defined once: pages and ``docs/evaluation.md`` say the same."""

TERMS = {
    "Compression ratio": (
        "bytes of the float file divided by bytes of the compressed one, both after gzip, which is "
        "what a download costs."
    ),
    "Speed-up": (
        "median latency of the float file divided by that of the compressed one, both measured in "
        "turns in one run on one computer."
    ),
    "Accuracy": (
        "the share of examples whose largest output is that of the label, computed from what the "
        "interpreter gives, not from the Keras model."
    ),
    "Accuracy drop": (
        "accuracy of the float file less that of the compressed one, in percentage points; "
        "negative where accuracy was gained."
    ),
    "Sparsity": (
        "the share of weights that are zero in the file, biases left out. Rounding to few bits "
        "makes small weights zero, too."
    ),
    "Distinct values": (
        "how many different stored values the weights of an operation have; in an integer file "
        "with a scale per channel, before the scales."
    ),
    "Bits": "bits that one weight takes in the file, before gzip and sparse encodings.",
    "MACs": (
        "multiply-accumulates of one run, counted from the shapes of convolutions, matrix products "
        "and recurrent operations; zeros are not left out."
    ),
    "Latency": (
        "the median time of one run in the interpreter on this computer, with random inputs, after "
        "a first run that sets the kernels up."
    ),
    "SQNR": (
        "signal-to-quantization-noise ratio: the power of the float values over the power of the "
        "difference, in dB. 6 dB are one bit."
    ),
    "Step, LSB": "the smallest difference between two values of a quantized tensor: its scale.",
    "Agreement": (
        "the shares of output values that equal the reference's, rounded to the output's own "
        "steps, or lie within one step of it; and of examples with the same class."
    ),
    "Pareto front": "the trials that no other trial beats in everything at once.",
}
