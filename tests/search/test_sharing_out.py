import pytest

from tfcompress.search import Sensitivity
from tfcompress.search.sensitivity import Effect
from tfcompress.search.sparsities import error_at, share_out


def table(**kernels):
    """Build a table from {layer: (weights, error at 50 %, error at 90 %)}."""
    return Sensitivity(
        tuple(
            Effect(f"{layer}/kernel", "sparsity", level, weights, error)
            for layer, (weights, *errors) in kernels.items()
            for level, error in zip((0.5, 0.9), errors, strict=True)
        )
    )


def test_errors_between_levels_by_hand():
    curve = [(0.5, 0.01), (0.9, 0.1)]
    assert error_at(curve, 0.25) == pytest.approx(0.0025)  # with the square of the sparsity
    assert error_at(curve, 0.7) == pytest.approx(0.1**1.5)  # half-way in the logarithm
    assert error_at(curve, 0.9) == pytest.approx(0.1)
    assert error_at([(0.5, 0.0), (0.9, 0.0)], 0.7) == pytest.approx(0, abs=1e-11)


def test_equal_kernels_get_equal_shares():
    shares = share_out(table(a=(100, 0.01, 0.1), b=(100, 0.01, 0.1)), 0.6)
    assert shares == {"a/kernel": pytest.approx(0.6), "b/kernel": pytest.approx(0.6)}


def test_the_sensitive_kernel_stays_denser_and_the_whole_has_what_was_asked():
    weights = {"a/kernel": 100, "b/kernel": 900}
    shares = share_out(table(a=(100, 0.3, 0.9), b=(900, 0.001, 0.02)), 0.7)
    assert shares["a/kernel"] < 0.2
    total = sum(shares[path] * weights[path] for path in weights)
    assert total == pytest.approx(700, abs=18)  # a step of the large kernel


def test_no_kernel_is_emptied():
    shares = share_out(table(a=(100, 0.5, 0.9), b=(100, 0.0, 0.0)), 0.9)
    assert shares["b/kernel"] == pytest.approx(0.98)
    assert shares["a/kernel"] == pytest.approx(0.82)


def test_what_is_needed_is_named():
    with pytest.raises(ValueError, match=r"levels \[\]"):
        share_out(Sensitivity(()), 0.5)
    with pytest.raises(ValueError, match=r"sparsity=0\.99"):
        share_out(table(a=(100, 0.5, 0.9)), 0.99)
