import dataclasses

import pytest

from tfcompress.quantization import Scheme


@pytest.mark.parametrize("scheme", [Scheme.int8(), Scheme.int8_per_tensor(), Scheme.int4_weights()])
def test_config_round_trip(scheme):
    assert Scheme.from_config(scheme.get_config()) == scheme


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Scheme().weight_bits = 4


@pytest.mark.parametrize("setting", [{"weight_bits": 3}, {"activation_bits": 4}])
def test_unsupported_bits(setting):
    (name, value), *_ = setting.items()
    with pytest.raises(ValueError, match=rf"Received: {name}={value}"):
        Scheme(**setting)


def test_unknown_key():
    with pytest.raises(ValueError, match=r"no such setting. Received: \['bits'\]"):
        Scheme.from_config({"version": 1, "bits": 8})


@pytest.mark.parametrize("version", [None, 2])
def test_unknown_version(version):
    with pytest.raises(ValueError, match=f"Received: version={version}"):
        Scheme.from_config({"version": version} if version else {})
