"""The value: every operation keeps the mass, exactly or on average."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from aisle_smc import DegenerateWeights, Particles, merge, stream
from aisle_smc.resampling import (
    killing,
    multinomial,
    optimal,
    residual,
    ssp,
    stratified,
    systematic,
)

SCHEMES = [multinomial, residual, stratified, systematic, ssp, killing]

log_weights = st.lists(
    st.one_of(st.floats(-700.0, 700.0), st.just(-math.inf)), min_size=1, max_size=30
).filter(lambda values: max(values) > -math.inf)


def population(log_w, log_z=0.0):
    return Particles(np.arange(float(len(log_w))), np.array(log_w, dtype=float), log_z)


def score(values, truth):
    """Return how many standard errors the mean of independent replicates is off."""
    values = np.asarray(values, dtype=float)
    error = values.std(ddof=1) / math.sqrt(values.size)
    off = values.mean() - truth
    return 0.0 if abs(off) < 1e-12 else off / error


# --- reading -------------------------------------------------------------------------------------


@given(log_weights, st.floats(-500.0, 500.0))
def test_evidence_ess_and_weights(log_w, log_z):
    particles = population(log_w, log_z)
    top = max(log_w)
    w = np.exp(np.array(log_w) - top)
    evidence = log_z + top + math.log(math.fsum(w) / len(w))
    assert particles.n == len(log_w)
    assert particles.log_evidence == pytest.approx(evidence, rel=1e-13, abs=1e-12)
    np.testing.assert_allclose(particles.weights, w / w.sum(), rtol=1e-12, atol=1e-300)
    assert particles.ess == pytest.approx(w.sum() ** 2 / (w**2).sum(), rel=1e-12)
    assert particles.expect(lambda x: x) == pytest.approx(w @ particles.x / w.sum(), rel=1e-12)


def test_no_mass_is_no_evidence():
    empty = population([-math.inf] * 3)
    assert empty.log_evidence == -math.inf
    assert empty.ess == 0.0
    assert empty.weights.tolist() == [0.0, 0.0, 0.0]


def test_expectations_of_rows():
    particles = population(np.log([1.0, 3.0]))
    found = particles.expect(lambda x: np.stack([x, x**2, 1.0 + 0.0 * x], axis=1))
    np.testing.assert_allclose(found, [0.75, 0.75, 1.0])


def test_pickle():
    particles = Particles(np.arange(4.0), np.zeros(4), 1.5, np.array([0, 0, 1, 3]))
    other = pickle.loads(pickle.dumps(particles))
    for name in ("x", "log_w", "log_z", "ancestors"):
        np.testing.assert_array_equal(getattr(other, name), getattr(particles, name))


# --- reweight ------------------------------------------------------------------------------------


@given(log_weights, st.floats(-50.0, 50.0))
def test_a_constant_factor_moves_the_evidence_by_itself(log_w, shift):
    particles = population(log_w)
    moved = particles.reweight(np.full(len(log_w), shift))
    assert moved.log_evidence == pytest.approx(particles.log_evidence + shift, abs=1e-9)
    np.testing.assert_allclose(moved.weights, particles.weights, rtol=1e-9, atol=1e-300)


def test_reweighting_twice_is_reweighting_by_the_product():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 20))
    particles = population(rng.normal(size=20))
    twice, once = particles.reweight(a).reweight(b), particles.reweight(a + b)
    np.testing.assert_allclose(twice.log_w, once.log_w, atol=1e-14)
    assert particles.reweight(np.full(20, -math.inf)).log_evidence == -math.inf


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_potential_is_named(bad):
    log_g = np.zeros(5)
    log_g[3] = bad
    with pytest.raises(ValueError, match=rf"log_g\[3\] is {bad}"):
        population(np.zeros(5)).reweight(log_g)


def test_operations_leave_the_population_as_it_was():
    particles = population([0.0, 1.0, 2.0])
    before = pickle.dumps(particles)
    particles.reweight(np.ones(3))
    particles.resample(systematic, stream(0), np.ones(3))
    particles.move(np.zeros(3))
    merge([particles, particles], [np.sin, np.cos])
    assert pickle.dumps(particles) == before


def test_one_potential_for_each_particle():
    with pytest.raises(ValueError, match=r"must have shape \(5,\).*got shape \(4,\)"):
        population(np.zeros(5)).reweight(np.zeros(4))


# --- resample ------------------------------------------------------------------------------------

LOG_W = np.array([0.3, -1.2, 1.6, -math.inf, 0.1, -3.0])
LOG_ETA = np.array([-0.5, 1.0, 0.4, 0.0, -1.0, 2.0])
VALUES = np.array([1.0, -2.0, 0.5, 40.0, 3.0, -7.0])


def measure(particles, f):
    """Return gamma_hat(f)."""
    return math.exp(particles.log_z) * float(np.mean(np.exp(particles.log_w) * f(particles.x)))


@pytest.mark.parametrize("m", [None, 3, 9])
@pytest.mark.parametrize("scheme", [*SCHEMES, optimal], ids=repr)
@pytest.mark.parametrize("log_eta", [None, LOG_ETA], ids=["plain", "look-ahead"])
def test_resampling_keeps_every_expectation(scheme, m, log_eta):
    """4000 draws; the relative standard error is 0.5 to 4 %."""
    if scheme is killing and m is not None:
        pytest.skip("killing keeps the number of particles")
    particles = Particles(VALUES, LOG_W, 0.7)
    rng = stream(5)
    drawn = [particles.resample(scheme, rng, log_eta, m) for _ in range(4000)]
    for f in (np.ones_like, lambda x: x, np.exp):
        assert abs(score([measure(each, f) for each in drawn], measure(particles, f))) < 4
    assert all(math.isfinite(each.log_evidence) for each in drawn)
    if log_eta is None and scheme is not optimal:
        assert {each.log_evidence for each in drawn} == {particles.log_evidence}


def forgetting(particles, scheme, rng, log_eta):
    """Resample with a look-ahead that is not divided out: the negative twin."""
    drawn = particles.resample(scheme, rng, log_eta)
    return Particles(drawn.x, np.zeros(drawn.n), drawn.log_z)


def test_a_look_ahead_that_stays_in_fails_the_same_test():
    particles = Particles(VALUES, LOG_W, 0.7)
    rng = stream(5)
    drawn = [forgetting(particles, systematic, rng, LOG_ETA) for _ in range(4000)]
    truth = measure(particles, np.exp)
    assert abs(score([measure(each, np.exp) for each in drawn], truth)) > 4


@pytest.mark.parametrize("scheme", [*SCHEMES, optimal], ids=repr)
@given(log_w=log_weights, seed=st.integers(0, 2**32))
def test_offspring_descend_from_particles_with_weight(scheme, log_w, seed):
    particles = population(log_w)
    drawn = particles.resample(scheme, stream(seed))
    # A weight may be too small for a double next to the largest.
    assert np.isfinite(particles.log_w[drawn.ancestors]).all()
    np.testing.assert_array_equal(drawn.x, particles.x[drawn.ancestors])
    assert drawn.log_evidence == pytest.approx(particles.log_evidence, abs=1e-9)


def test_the_optimal_scheme_keeps_all_that_have_weight():
    """With fewer positive weights than places, nothing is random and no mass is lost."""
    particles = Particles(VALUES, LOG_W, 0.7)
    drawn = particles.resample(optimal, stream(1), m=5)
    assert drawn.ancestors.tolist() == [0, 1, 2, 4, 5]
    np.testing.assert_allclose(drawn.weights, particles.weights[[0, 1, 2, 4, 5]], rtol=1e-12)
    assert drawn.log_evidence == pytest.approx(particles.log_evidence, abs=1e-12)
    drawn = particles.resample(optimal, stream(1), m=50)
    assert drawn.n == 5
    assert drawn.log_evidence == pytest.approx(particles.log_evidence, abs=1e-12)


def test_states_are_drawn_by_weight():
    particles = population(np.log([1.0, 2.0, 5.0]))
    counts = np.bincount(particles.sample(800, stream(1)).astype(int), minlength=3)
    assert counts.tolist() == [100, 200, 500]
    with pytest.raises(ValueError, match="unequal weights"):
        particles.sample(2, stream(1), optimal)


def test_resampling_without_mass_is_degenerate():
    with pytest.raises(DegenerateWeights, match="none of 3 particles"):
        population([-math.inf] * 3).resample(systematic, stream(0))
    with pytest.raises(DegenerateWeights):
        population([0.0, 1.0]).resample(systematic, stream(0), np.full(2, -math.inf))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_look_ahead_is_named(bad):
    with pytest.raises(ValueError, match=f"their sum at 1 is {bad}"):
        population([0.0, 1.0, 2.0]).resample(systematic, stream(0), np.array([0.0, bad, 0.0]))


def test_impossible_numbers_of_offspring():
    particles = population([0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="m must be at least 1"):
        particles.resample(systematic, stream(0), m=0)
    with pytest.raises(ValueError, match="killing keeps the number of particles, 3; asked for 2"):
        particles.resample(killing, stream(0), m=2)


# --- move and merge ------------------------------------------------------------------------------


def test_moving_keeps_the_weights():
    particles = population([0.0, 1.0], 3.0)
    moved = particles.move(np.array([5.0, 6.0]))
    assert moved.x.tolist() == [5.0, 6.0]
    assert moved.log_evidence == particles.log_evidence


@given(st.lists(st.tuples(log_weights, st.floats(-500.0, 500.0)), min_size=1, max_size=4))
def test_merging_keeps_the_mass(parts):
    populations = [population(log_w, log_z) for log_w, log_z in parts]
    merged = merge(populations)
    sizes = np.array([each.n for each in populations])
    masses = np.array([each.log_evidence for each in populations])
    expected = np.logaddexp.reduce(masses + np.log(sizes / sizes.sum()))
    assert merged.n == sizes.sum()
    assert merged.log_evidence == pytest.approx(expected, rel=1e-12, abs=1e-9)


def log_target(x):
    """Return the log of 3 times a skewed density."""
    return math.log(3.0) + norm.logpdf(x, 0.4, 1.3) + np.log(2.0 * norm.cdf(2.0 * x - 0.8))


PROPOSALS = [norm(-1.0, 0.8), norm(1.5, 1.0), norm(0.0, 4.0)]
PROPOSAL_SIZES = [5, 40, 15]


def proposed(rng):
    """Return one weighted population for each proposal, with mass in log_z for good measure."""
    found = []
    for k, (q, n) in enumerate(zip(PROPOSALS, PROPOSAL_SIZES, strict=True)):
        x = q.rvs(n, random_state=rng)
        found.append(Particles(x, log_target(x) - q.logpdf(x) - 2.0 * k, 2.0 * k))
    return found


def test_merging_by_the_balance_heuristic():
    populations = proposed(np.random.default_rng(1))
    merged = merge(populations, [q.logpdf for q in PROPOSALS])
    total = sum(PROPOSAL_SIZES)
    for x, log_w in zip(merged.x, merged.log_w + merged.log_z, strict=True):
        parts = zip(PROPOSALS, PROPOSAL_SIZES, strict=True)
        mixture = sum(n / total * q.pdf(x) for q, n in parts)
        assert log_w == pytest.approx(log_target(x) - math.log(mixture), abs=1e-10)


def test_merging_is_unbiased_and_the_mixture_is_better():
    """400 replicates; the true mass is 3."""
    rng = np.random.default_rng(2)
    plain, balanced = [], []
    for _ in range(400):
        populations = proposed(rng)
        plain.append(math.exp(merge(populations).log_evidence))
        balanced.append(math.exp(merge(populations, [q.logpdf for q in PROPOSALS]).log_evidence))
    assert abs(score(plain, 3.0)) < 4
    assert abs(score(balanced, 3.0)) < 4
    assert np.std(balanced) < 0.5 * np.std(plain)


def test_merging_nothing_or_badly():
    part = population([0.0, 1.0])
    with pytest.raises(ValueError, match="at least one population"):
        merge([])
    with pytest.raises(ValueError, match="each of the 2 populations; got 1"):
        merge([part, part], [np.sin])
    with pytest.raises(ValueError, match=r"log_proposals\[1\] must return shape \(4,\)"):
        merge([part, part], [np.sin, lambda x: x[:2]])
    with pytest.raises(ValueError, match=r"at particle 0 of the merged ones they are \[nan\]"):
        merge([part], [lambda x: np.full(x.shape, math.nan)])
    with pytest.raises(ValueError, match=r"at particle 1 .* they are \[-inf\]"):
        merge([part], [lambda x: np.where(x > 0.5, -math.inf, 0.0)])
    with pytest.raises(ValueError, match="that of particle 3 of the merged ones is nan"):
        merge([part, population([0.0, math.nan])])


def test_merging_populations_without_mass():
    empty = population([-math.inf] * 2)
    assert merge([empty, empty]).log_evidence == -math.inf
    one = merge([empty, population([0.0, 0.0])])
    assert one.log_evidence == pytest.approx(math.log(0.5))
