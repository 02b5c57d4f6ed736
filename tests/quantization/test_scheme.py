import dataclasses
import json

import pytest

from tfcompress.quantization import Scheme

SCHEMES = {
    "int8": Scheme.int8(),
    "per tensor": Scheme.int8_per_tensor(),
    "16x8": Scheme.int8_weights_int16_activations(),
    "4 bits": Scheme.int4_weights(),
    "2 bits": Scheme(weight_bits=2),
    "dynamic": Scheme.dynamic_range(),
    "float16": Scheme.float16(),
    "dense per channel": Scheme(dense_per_channel=True),
    "symmetric": Scheme(symmetric_activations=True),
    "two precisions": Scheme.int4_weights()
    .override(["stem", "head"], Scheme.int8())
    .override("^odd", None),
}


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_config_round_trip_through_json(scheme):
    config = json.loads(json.dumps(scheme.get_config()))
    assert config["version"] == 3
    assert Scheme.from_config(config) == scheme
    assert hash(Scheme.from_config(config)) == hash(scheme)


def test_configs_of_version_1_still_read():
    config = {"version": 1, "weight_bits": 4, "activation_bits": 8, "per_channel_weights": False}
    assert Scheme.from_config(config) == Scheme(weight_bits=4, per_channel_weights=False)


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Scheme().weight_bits = 4


@pytest.mark.parametrize(
    "bits", [(3, 8), (8, 4), (4, 16), (4, None), (16, 8), (32, None), ("8", 8), (None, None)]
)
def test_bits_that_no_runtime_has(bits):
    with pytest.raises(ValueError, match=r"supported: weight_bits=8, activation_bits=8") as caught:
        Scheme(*bits)
    assert f"Received: weight_bits={bits[0]!r}, activation_bits={bits[1]!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dense_per_channel": True, "per_channel_weights": False}, "per_channel_weights=False"),
        (
            {"dense_per_channel": True, "weight_bits": 16, "activation_bits": None},
            "integer weights",
        ),
        ({"activation_bits": 16}, "pass `symmetric_activations=True`"),
        ({"activation_bits": None, "symmetric_activations": True}, "activation_bits=None"),
        ({"weight_bits": 2, "kernels": "micro"}, "TFLite Micro has no kernel for 2-bit"),
        ({"per_channel_weights": 1}, "Received: per_channel_weights=1"),
    ],
)
def test_combinations_that_cannot_be_deployed(settings, message):
    with pytest.raises(ValueError, match=message):
        Scheme(**settings)


@pytest.mark.parametrize(
    ("base", "layers", "other", "message"),
    [
        (Scheme.int8(), "a", Scheme.dynamic_range(), "same `activation_bits`"),
        (Scheme.int8(), "a", Scheme(symmetric_activations=True), "same `symmetric_activations`"),
        (Scheme.int8(), "a", Scheme(kernels="reference"), "same `kernels`"),
        (Scheme.int8(), "a", Scheme.int8().override("b", None), "without overrides of its own"),
        (Scheme.int8(), "a", "int8", "Received: layers='a', scheme='int8'"),
        (Scheme.int8(), "", None, "Received: layers=''"),
        (Scheme.int8(), [], None, r"Received: layers=\(\)"),
        (Scheme.int8(), [3], None, r"Received: layers=\(3,\)"),
    ],
)
def test_overrides_that_cannot_be_in_one_file(base, layers, other, message):
    with pytest.raises(ValueError, match=message):
        base.override(layers, other)


def test_unknown_key():
    with pytest.raises(ValueError, match=r"no such setting. Received: \['bits'\]"):
        Scheme.from_config({"version": 2, "bits": 8})


@pytest.mark.parametrize("version", [None, 4, "2"])
def test_unknown_version(version):
    with pytest.raises(ValueError, match=f"versions 1 to 3.*Received: version={version!r}"):
        Scheme.from_config({"version": version} if version else {})
