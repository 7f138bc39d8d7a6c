"""Mixtures: expectation-maximisation rises, the number of parts is found, copies fool no one."""

from __future__ import annotations

import numpy as np
import pytest

from aisle_smc.distributions import (
    Elliptical,
    Gaussian,
    LogRadius,
    Mixture,
    StudentT,
    fit_elliptical_mixture,
    fit_mixture,
)
from aisle_smc.distributions import mixture_fit as module
from aisle_smc.distributions.mixture_fit import better, halves, thinned, without_negligible
from aisle_smc.distributions.moments import shrunk_moments
from aisle_smc.distributions.protocol import without_copies
from aisle_smc.distributions.splitting import merged, nearest, split
from aisle_smc.distributions.student_em import Parts, em, one_part, start
from tests.distributions.densities import gaussian, student
from tests.distributions.shapes import (
    Banana,
    Funnel,
    Shells,
    divergence,
    efficiency,
    forty,
)


def two_bumps(n, seed=0, *, apart=6.0, d=2):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    x[:, 0] += np.where(rng.random(n) < 0.3, apart, 0.0)
    return x, np.random.default_rng(seed + 1).uniform(size=n)


# --- expectation-maximisation --------------------------------------------------------------------


def starts(kind):
    if kind == "student":
        return tuple(student(2, 6.0, seed=s) for s in (1, 2))
    if kind == "gaussian":
        return tuple(gaussian(2, seed=s) for s in (1, 2))
    if kind == "elliptical":
        law = LogRadius(knots=np.zeros(1), heights=np.zeros(1), left=2.0, right=-4.0)
        return tuple(
            Elliptical(location=np.array([m, 0.0]), root=2.0 * np.eye(2), radius=law)
            for m in (0.0, 3.0)
        )
    return gaussian(2, seed=1), student(2, seed=2)


@pytest.mark.parametrize("kind", ["student", "gaussian", "elliptical", "mixed"])
def test_em_raises_the_likelihood_and_finds_two_bumps(kind):
    x, w = two_bumps(1500)
    w /= w.sum()
    begin = Mixture(weights=np.array([0.5, 0.5]), parts=starts(kind))
    fitted = begin.fit(x, w)
    assert w @ fitted.log_density(x) > w @ begin.log_density(x) + 0.5
    assert [type(part) for part in fitted.parts] == [type(part) for part in begin.parts]
    assert sorted(fitted.weights) == pytest.approx([0.3, 0.7], abs=0.05)
    # Where it ends, another fit gains next to nothing.
    again = fitted.fit(x, w)
    assert w @ again.log_density(x) == pytest.approx(w @ fitted.log_density(x), abs=2e-3)


def test_em_on_arrays_rises_at_every_step():
    x, w = two_bumps(800)
    w /= w.sum()
    mean, root = shrunk_moments(x, w)
    z = (x - mean) @ np.linalg.inv(root).T
    first = z[:, 0] < 0.0
    parts = start(z, w, w * np.stack([first, ~first]))
    scores = []
    for _ in range(15):
        mixture = Mixture(
            weights=parts.weights,
            parts=tuple(
                StudentT(location=m, root=r, df=v)
                for m, r, v in zip(parts.location, parts.root, parts.df, strict=True)
            ),
        )
        scores.append(w @ mixture.log_density(z))
        parts = em(z, w, parts, steps=1)
    # But for the weak pull on the degrees of freedom, which is worth a tenth of a point.
    assert (np.diff(scores) > -0.1 / 800).all()
    assert scores[-1] > scores[0] + 0.01


def test_mixture_of_students_follows_affine_maps():
    x, w = two_bumps(600)
    begin = Mixture(weights=np.array([0.5, 0.5]), parts=starts("student"))
    a, b = np.array([[2.0, 0.0], [-0.7, 0.3]]), np.array([5.0, -100.0])
    moved = Mixture(
        weights=begin.weights,
        parts=tuple(
            StudentT(location=a @ p.location + b, root=a @ p.root, df=p.df) for p in begin.parts
        ),
    )
    y = x @ a.T + b
    found = moved.fit(y, w).log_density(y)
    expected = begin.fit(x, w).log_density(x) - np.log(0.6)
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-8)


def test_a_part_without_points_goes():
    x, w = two_bumps(500, apart=0.0)
    far = StudentT(location=np.full(2, 1e6), root=np.eye(2))
    q = Mixture(weights=np.array([0.5, 0.5]), parts=(student(2), far)).fit(x, w)
    assert len(q.parts) == 1
    elsewhere = Gaussian(mean=np.full(2, 1e6), root=np.eye(2))
    p = Mixture(weights=np.array([0.5, 0.5]), parts=(gaussian(2), elsewhere)).fit(x, w)
    assert p.weights[1] < 1e-12


def test_points_out_of_reach_are_shared_out():
    x, w = two_bumps(500)
    parts = tuple(Gaussian(mean=np.full(2, m), root=1e-3 * np.eye(2)) for m in (1e4, -1e4))
    q = Mixture(weights=np.array([0.5, 0.5]), parts=parts).fit(x, w)
    assert np.isfinite(q.log_density(x)).all()


# --- number of parts -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_forty_gaussians_are_found(seed):
    rng = np.random.default_rng([seed, 1])
    target = forty(seed)
    q = fit_mixture(target.sample(5000, rng), np.ones(5000), rng)
    assert divergence(target, q, rng) < 0.055
    assert 35 <= len(q.parts) <= 50


def test_one_gaussian_is_one_part():
    counts = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        counts.append(len(fit_mixture(gaussian(4).sample(1000, rng), np.ones(1000), rng).parts))
    assert np.mean(counts) < 1.5


@pytest.mark.parametrize(
    ("target", "n", "least"), [(Banana(), 4000, 0.75), (Funnel(), 4000, 0.35)]
)
def test_bent_shapes(target, n, least):
    rng = np.random.default_rng(5)
    q = fit_mixture(target.sample(n, rng), np.ones(n), rng)
    assert 3 <= len(q.parts) <= 40
    assert efficiency(target, q, rng) > least
    one = fit_mixture(target.sample(n, rng), np.ones(n), rng, most=1)
    assert efficiency(target, one, rng) < 0.5 * least


def test_weights_count():
    # Points of a wide mixture weighted for a bump of it that they hardly favour.
    rng = np.random.default_rng(0)
    target = Gaussian(mean=np.array([6.0, 0.0]), root=0.5 * np.eye(2))
    wide = Gaussian(mean=np.zeros(2), root=4.0 * np.eye(2))
    x = wide.sample(20_000, rng)
    w = np.exp(target.log_density(x) - wide.log_density(x))
    assert abs(divergence(target, fit_mixture(x, w, rng), rng)) < 0.05
    assert divergence(target, fit_mixture(x, np.ones_like(w), rng), rng) > 1.0


def test_the_generator_decides_the_bits():
    x, w = two_bumps(800)
    one = fit_mixture(x, w, np.random.default_rng(3)).log_density(x)
    np.testing.assert_array_equal(fit_mixture(x, w, np.random.default_rng(3)).log_density(x), one)
    # Weights are taken up to a factor, and points without weight are not there.
    more = np.concatenate([x, np.full((7, 2), np.nan)])
    other = fit_mixture(more, np.append(4.0 * w, np.zeros(7)), np.random.default_rng(3))
    np.testing.assert_array_equal(other.log_density(x), one)


def test_most_is_kept():
    rng = np.random.default_rng(0)
    x = forty(0).sample(3000, rng)
    for most in (1, 3, 7):
        assert len(fit_mixture(x, np.ones(3000), rng, most=most).parts) <= most
    with pytest.raises(ValueError, match="most must be at least 1"):
        fit_mixture(x, np.ones(3000), rng, most=0)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("d", [1, 3])
def test_fit_mixture_survives_few_points(n, d):
    rng = np.random.default_rng(n)
    for x in (rng.normal(size=(n, d)), np.ones((n, d))):
        q = fit_mixture(x, np.ones(n), rng)
        assert np.isfinite(q.log_density(x)).all()


def test_wide_and_many_dimensions():
    rng = np.random.default_rng(0)
    target = gaussian(60)
    q = fit_mixture(target.sample(3000, rng), np.ones(3000), rng)
    assert len(q.parts) == 1
    assert divergence(target, q, rng) < 0.5


# --- copies, halves, thinning --------------------------------------------------------------------


def test_copies_are_merged():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3))
    x[:, 0] = np.round(x[:, 0])
    pick = rng.integers(0, 50, 200)
    w = rng.uniform(size=200)
    found, mass = without_copies(x[pick], w)
    present, inverse = np.unique(pick, return_inverse=True)
    assert len(found) == len(present)
    order = np.lexsort(x[present].T[::-1])
    np.testing.assert_array_equal(found, x[present][order])
    np.testing.assert_allclose(mass, np.bincount(inverse, w)[order])
    same, kept = without_copies(rng.normal(size=(9, 2)), np.ones(9))
    assert len(same) == len(kept) == 9


def test_copies_would_fool_the_held_out_score(monkeypatch):
    # A chain that stays five times at each point: seen by both halves, copies make points of
    # their own of the parts.
    rng = np.random.default_rng(1)
    x = np.repeat(gaussian(3).sample(150, rng), 5, axis=0)
    right = fit_mixture(x, np.ones(750), np.random.default_rng(0))
    monkeypatch.setattr(module, "without_copies", lambda x, w: (x, w))
    wrong = fit_mixture(x, np.ones(750), np.random.default_rng(0))
    assert len(right.parts) <= 2 < len(wrong.parts)
    assert divergence(gaussian(3), wrong, rng) > 3.0 * divergence(gaussian(3), right, rng)


def test_halves_are_a_partition_with_their_share_of_the_heavy_points():
    rng = np.random.default_rng(0)
    w = np.exp(rng.normal(scale=3.0, size=101))
    w /= w.sum()
    x = np.arange(101.0)[:, None]
    (a, v), (b, u) = halves(x, w, rng)
    assert sorted([*a[:, 0], *b[:, 0]]) == list(range(101))
    assert v.sum() == pytest.approx(1.0)
    assert u.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(np.diff(v / w[a[:, 0].astype(int)]), 0.0, atol=1e-9)
    heavy = set(np.argsort(-w)[:2])
    for _ in range(20):
        (a, _), _ = halves(x, w, rng)
        assert len(heavy & set(a[:, 0].astype(int))) == 1


def test_thinning_keeps_the_measure(monkeypatch):
    monkeypatch.setattr(module, "ENOUGH_TO_GROW", 40)
    rng = np.random.default_rng(0)
    w = rng.standard_gamma(0.3, size=500)
    w /= w.sum()
    x = np.arange(500.0)[:, None]
    mean = np.zeros(500)
    for _ in range(4000):
        kept, v = thinned(x, w, rng)
        assert len(kept) <= 40
        assert v.sum() == pytest.approx(1.0)
        mean[kept[:, 0].astype(int)] += v / 4000
    # Offspring of systematic resampling vary by at most one half each.
    np.testing.assert_allclose(mean, w, atol=4.0 * 0.5 / 40 / np.sqrt(4000))
    monkeypatch.setattr(module, "ENOUGH_TO_GROW", 500)
    assert thinned(x, w, rng)[0] is x


def test_what_is_negligible_together_goes():
    w = np.concatenate([np.full(1000, 1e-12), [0.4, 0.6]])
    x = np.arange(1002.0)[:, None]
    kept, v = without_negligible(x, w / w.sum())
    assert kept[:, 0].tolist() == [1000.0, 1001.0]
    assert v.tolist() == pytest.approx([0.4, 0.6])
    assert without_negligible(x[:9], np.full(9, 1 / 9))[0].shape == (9, 1)


def test_better_is_beyond_one_standard_error():
    rng = np.random.default_rng(0)
    w = np.full(400, 1 / 400)
    noise = rng.normal(size=400)
    noise -= noise.mean()
    error = noise.std() / 20.0
    assert better(noise + 1.01 * error, np.zeros(400), w)
    assert not better(noise + 0.99 * error, np.zeros(400), w)


# --- splitting and joining -----------------------------------------------------------------------


def white_split(x, seed=0):
    w = np.full(len(x), 1.0 / len(x))
    mean, root = shrunk_moments(x, w)
    z = (x - mean) @ np.linalg.inv(root).T
    two = split(z, w, em(z, w, one_part(z, w)), root, np.random.default_rng(seed))
    assert two is not None
    return two, mean, root


def test_two_shells_in_thirty_dimensions_are_split_along_their_axis():
    x = Shells(30).sample(2000, np.random.default_rng(0))
    two, mean, root = white_split(x)
    centres = mean + two.location @ root.T
    assert sorted(centres[:, 0]) == pytest.approx([-3.5, 3.5], abs=0.1)


def test_two_bumps_aslant_are_split():
    rng = np.random.default_rng(0)
    line = np.linalg.qr(rng.normal(size=(6, 6))).Q[0]
    x = rng.normal(size=(3000, 6)) + 4.0 * np.outer(rng.choice([-1.0, 1.0], 3000), line)
    two, mean, root = white_split(x)
    along = (mean + two.location @ root.T) @ line
    assert sorted(along) == pytest.approx([-4.0, 4.0], abs=0.2)


def test_core_and_shell_are_split():
    rng = np.random.default_rng(0)
    scale = np.where(rng.random(2000) < 0.5, 0.1, 3.0)
    two, _, root = white_split(rng.normal(size=(2000, 5)) * scale[:, None])
    sizes = [np.linalg.det(root @ r) ** 0.2 for r in two.root]
    assert sorted(sizes) == pytest.approx([0.1, 3.0], rel=0.15)


def test_joined_parts_have_the_moments_of_both():
    parts = Parts(
        weights=np.array([0.2, 0.5, 0.3]),
        location=np.array([[0.0, 0.0], [50.0, 0.0], [1.0, 2.0]]),
        root=np.stack([np.eye(2), np.eye(2), np.array([[2.0, 0.0], [1.0, 1.0]])]),
        df=np.array([5.0, 5.0, 20.0]),
    )
    one = merged(parts, 0, 2)
    p = np.array([0.4, 0.6])
    mean = p @ parts.location[[0, 2]]
    np.testing.assert_allclose(one.location[0], mean)
    assert one.weights[0] == pytest.approx(0.5)
    scatter = sum(
        q * (r @ r.T + np.outer(m - mean, m - mean))
        for q, r, m in zip(p, parts.root[[0, 2]], parts.location[[0, 2]], strict=True)
    )
    np.testing.assert_allclose(one.root[0] @ one.root[0].T, scatter)
    assert nearest(parts) == [(0, 2)]


# --- mixtures of elliptical distributions --------------------------------------------------------


def test_two_shells_in_ten_dimensions():
    rng = np.random.default_rng(0)
    target = Shells(10)
    x = target.sample(5000, rng)
    q = fit_elliptical_mixture(x, np.ones(5000), rng)
    assert len(q.parts) == 2
    assert efficiency(target, q, rng) > 0.8
    # Student-t parts of the same number cannot.
    two = fit_mixture(x, np.ones(5000), rng, most=2)
    assert efficiency(target, two, rng) < 0.3
