import gzip
import sys

import numpy as np
import pytest

from exporters.report import gzip_size, zstd_size

CLUSTERED = np.random.default_rng(0).choice([-90, -20, 0, 35, 127], 20_000).astype("int8").tobytes()
NEED = "needs the extra `zstd`"


def test_gzip_is_what_the_command_makes_without_a_date():
    assert gzip_size(CLUSTERED) == len(gzip.compress(CLUSTERED, 9, mtime=0))
    assert gzip_size(CLUSTERED) < 0.45 * len(CLUSTERED)


def test_zstandard_comes_near_the_entropy():
    zstd = pytest.importorskip("backports.zstd", reason=NEED)
    assert len(zstd.decompress(zstd.compress(CLUSTERED, 19))) == len(CLUSTERED)
    least = np.log2(5) / 8 * len(CLUSTERED)
    assert least < zstd_size(CLUSTERED) < 1.1 * least


def test_without_the_extra_there_is_no_figure(monkeypatch):
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    assert zstd_size(CLUSTERED) is None
