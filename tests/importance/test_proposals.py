"""Proposals of a round: who draws what, and densities that belong to the draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisle_smc import stream
from aisle_smc.distributions import Gaussian, StudentT
from aisle_smc.importance import Defended, Located, Several
from aisle_smc.importance.proposals import shares
from tests.importance.densities import score


def some_located(count=4, dim=2, df=5.0, one_root=False, seed=0):
    rng = np.random.default_rng(seed)
    roots = np.tril(rng.normal(0.0, 0.4, (1 if one_root else count, dim, dim))) + np.eye(dim)
    return Located(locations=3.0 * rng.normal(size=(count, dim)), roots=roots, df=df)


def parts_of(located):
    roots = np.broadcast_to(located.roots, (located.count, located.dim, located.dim))
    if math.isinf(located.df):
        return [Gaussian(mean=m, root=r) for m, r in zip(located.locations, roots, strict=True)]
    return [
        StudentT(location=m, root=r, df=located.df)
        for m, r in zip(located.locations, roots, strict=True)
    ]


@given(n=st.integers(1, 200), count=st.integers(1, 50))
def test_shares_are_even_and_add_up(n, count):
    sizes = shares(n, count)
    assert sizes.sum() == n
    assert sizes.max() - sizes.min() <= 1
    assert (np.diff(sizes) <= 0).all()


@pytest.mark.parametrize("one_root", [False, True])
@pytest.mark.parametrize("df", [3.0, math.inf])
def test_located_densities_are_those_of_the_parts(df, one_root):
    located = some_located(df=df, one_root=one_root)
    x = 4.0 * np.random.default_rng(1).normal(size=(11, 2))
    sizes = shares(11, 4)
    each = np.stack([part.log_density(x) for part in parts_of(located)])
    mixture = np.log(np.tensordot(sizes / 11, np.exp(each), axes=1))
    np.testing.assert_allclose(located.log_mixture(x, 11), mixture, rtol=1e-12)
    owner = np.repeat(np.arange(4), sizes)
    np.testing.assert_allclose(located.log_own(x), each[owner, np.arange(11)], rtol=1e-12)
    several = Several(tuple(parts_of(located)))
    np.testing.assert_allclose(several.log_mixture(x, 11), mixture, rtol=1e-12)
    np.testing.assert_allclose(several.log_own(x), located.log_own(x), rtol=1e-12)
    whole = located.distribution().log_density(x)
    np.testing.assert_allclose(whole, located.log_mixture(x, 12), rtol=1e-12)


@pytest.mark.parametrize("one_root", [False, True])
def test_each_part_draws_its_share(one_root):
    """2000 draws of each part; moments within 4 standard errors."""
    located = some_located(count=3, df=9.0, one_root=one_root)
    n = 6001
    x = located.sample(n, stream(1))
    roots = np.broadcast_to(located.roots, (3, 2, 2))
    for k, block in enumerate(np.split(x, np.cumsum(shares(n, 3))[:-1])):
        away = np.linalg.solve(roots[k], (block - located.locations[k]).T)
        for row in away:
            assert abs(score(row, 0.0)) < 4
            assert abs(score(row**2, 9.0 / 7.0)) < 4
        assert abs(score(away[0] * away[1], 0.0)) < 4


def test_a_share_of_safe_draws():
    safe = Gaussian(mean=np.zeros(2), root=9.0 * np.eye(2))
    located = some_located()
    defended = Defended(proposals=located, safety=safe, share=0.2)
    x = defended.sample(50, stream(2))
    assert defended.sizes(50).tolist() == [10, 10, 10, 10, 10]
    np.testing.assert_array_equal(x[:40], located.sample(40, stream(2)))
    expected = np.log(0.8 * np.exp(located.log_mixture(x, 40)) + 0.2 * np.exp(safe.log_density(x)))
    np.testing.assert_allclose(defended.log_mixture(x, 50), expected, rtol=1e-12)
    np.testing.assert_allclose(defended.log_own(x)[40:], safe.log_density(x[40:]))
    np.testing.assert_allclose(defended.distribution().log_density(x), expected, rtol=1e-12)


def test_a_group_is_what_it_was_within_the_whole():
    """The first proposals make the odd draws, in a group as in all."""
    located, several = some_located(5), Several(tuple(parts_of(some_located(5))))
    x = located.sample(13, stream(0))
    own = np.split(located.log_own(x), np.cumsum(shares(13, 5))[:-1])
    for proposals in (located, several):
        group = proposals.part(1, 4)
        rows = np.split(x, np.cumsum(shares(13, 5))[:-1])
        assert [len(r) for r in rows[1:4]] == group.sizes(8).tolist()
        found = group.log_own(np.concatenate(rows[1:4]))
        np.testing.assert_allclose(found, np.concatenate(own[1:4]), rtol=1e-12)


def test_bad_proposals():
    flat = [Gaussian(mean=np.zeros(d), root=np.eye(d)) for d in (2, 2, 3)]
    with pytest.raises(ValueError, match="at least one proposal; got none"):
        Several(())
    with pytest.raises(ValueError, match="proposal 0 has 2 and proposal 2 has 3"):
        Several(tuple(flat))
    with pytest.raises(ValueError, match=r"got shapes \(3, 2\) and \(2, 2, 2\)"):
        Located(locations=np.zeros((3, 2)), roots=np.stack([np.eye(2)] * 2))
    with pytest.raises(ValueError, match="must be finite"):
        Located(locations=np.full((3, 2), math.nan), roots=np.eye(2)[None])
    with pytest.raises(ValueError, match="positive diagonals"):
        Located(locations=np.zeros((3, 2)), roots=-np.eye(2)[None])
    with pytest.raises(ValueError, match="df must be positive"):
        Located(locations=np.zeros((3, 2)), roots=np.eye(2)[None], df=0.0)
