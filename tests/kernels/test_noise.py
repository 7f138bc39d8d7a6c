"""Normals in blocks: the same as the oracle's, normal to the far tail, and cut at whole blocks."""

import itertools
import math

import numpy as np
import pytest
from aisle_kernels.noise import BLOCK, normals
from numba import config

from tests.oracles.noise import normals as oracle

# Uncompiled, the words of SFC64 wrap around with a warning.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in scalar")


def drawn(seed, shape, *cuts):
    rng = np.random.Generator(np.random.SFC64(seed))
    out = np.full(shape, np.nan)
    edges = [0, *cuts, shape[0] if isinstance(shape, tuple) else shape]
    for first, last in itertools.pairwise(edges):
        normals(rng, out, first, last)
    return out, rng


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [(1,), (7,), (1500,), (1030, 2)])
def test_equals_the_oracle(seed, shape):
    out, rng = drawn(seed, shape)
    same = np.random.Generator(np.random.SFC64(seed))
    expected = np.array(oracle(same, shape[0], math.prod(shape[1:])))
    # Only a draw from the tail goes through a logarithm, whose last bit may differ.
    np.testing.assert_allclose(out.ravel(), expected, rtol=1e-15)
    assert rng.random() == same.random()


def test_cut_at_whole_blocks_gives_the_same():
    whole, rng = drawn(5, (2 * BLOCK + 100,))
    parts, other = drawn(5, (2 * BLOCK + 100,), BLOCK, 2 * BLOCK)
    assert np.array_equal(whole, parts)
    assert rng.random() == other.random()
    elsewhere, _ = drawn(5, (2 * BLOCK + 100,), BLOCK + 1)
    assert not np.array_equal(whole, elsewhere)


def test_untouched_outside_its_rows():
    rng = np.random.Generator(np.random.SFC64(1))
    out = np.zeros(20)
    normals(rng, out, 5, 9)
    assert (out[5:9] != 0).all()
    assert (out[:5] == 0).all()
    assert (out[9:] == 0).all()


def upper_tail(x):
    return 0.5 * math.erfc(x / math.sqrt(2.0))


def scores(x):
    """Return z-scores of moments and of counts beyond points, both sides, to the far tail."""
    n = x.size
    found = {
        "mean": x.mean() * math.sqrt(n),
        "variance": ((x * x).mean() - 1.0) * math.sqrt(n / 2.0),
        "third": (x**3).mean() * math.sqrt(n / 15.0),
        "fourth": ((x**4).mean() - 3.0) * math.sqrt(n / 96.0),
        "neighbours": (x[1:] * x[:-1]).mean() * math.sqrt(n),
    }
    for point in (0.2, 0.5, 1.0, 2.0, 3.0, 3.6541528853610088, 4.0):
        p = upper_tail(point)
        for sign in (-1.0, 1.0):
            count = np.count_nonzero(sign * x > point)
            found[f"{sign:+.0f} {point:.2f}"] = (count - n * p) / math.sqrt(n * p * (1.0 - p))
        both = np.count_nonzero(np.abs(x) > point)
        found[f"both {point:.2f}"] = (both - 2 * n * p) / math.sqrt(2 * n * p * (1.0 - 2 * p))
    return found


needs_many = pytest.mark.skipif(
    bool(config.DISABLE_JIT), reason="needs millions of draws: compiled only"
)


@needs_many
def test_is_normal_to_the_far_tail():
    # 2e7 draws, 5157 of them expected beyond the ziggurat: 6.2 % of those missing would score 4.5.
    x, _ = drawn(11, (20_000_000,))
    assert max(abs(z) for z in scores(x).values()) < 4.5


@needs_many
def test_a_tail_that_starts_again_when_rejected_would_be_seen():
    # The negative twin: a rejected draw of the tail goes back to all layers, which loses the
    # share of the tail that is rejected, 1 - r (1 - Phi(r)) / phi(r) = 6.2 %.
    x, _ = drawn(11, (20_000_000,))
    far = np.abs(x) > 3.6541528853610088
    lost = far & (np.random.default_rng(1).random(x.size) < 0.062)
    assert max(abs(z) for z in scores(x[~lost]).values()) > 4.5


@needs_many
def test_first_draws_of_many_keys_are_normal_and_unrelated():
    # Each call is a new key; a short warm-up would show here.
    rng = np.random.Generator(np.random.SFC64(3))
    out = np.empty((200_000, 2))
    for row in out:
        normals(rng, row, 0, 2)
    assert max(abs(z) for z in scores(out[:, 0].copy()).values()) < 4.5
    assert abs((out[:, 0] * out[:, 1]).mean()) * math.sqrt(len(out)) < 4.5
    assert abs((out[1:, 0] * out[:-1, 0]).mean()) * math.sqrt(len(out)) < 4.5
