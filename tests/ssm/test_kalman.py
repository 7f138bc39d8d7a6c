"""Exact linear-Gaussian inference against the joint Gaussian, written out in full."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from aisle_smc.ssm.data import nile
from aisle_smc.ssm.kalman import (
    LinearGaussianSystem,
    kalman_filter,
    kalman_smoother,
    log_likelihood,
)


def scalar(f=1.0, q=1.0, h=1.0, r=1.0, m=0.0, p=1.0, b=0.0, c=0.0):
    return LinearGaussianSystem(
        transition_matrix=f,
        transition_covariance=q,
        observation_matrix=h,
        observation_covariance=r,
        initial_mean=m,
        initial_covariance=p,
        transition_intercept=b,
        observation_intercept=c,
    )


NILE = scalar(q=1469.1, r=15099.0, m=1000.0, p=1e5)
TOY = scalar(q=1.0, r=2.0, m=0.0, p=1.0)


def covariance(rng, d, rank=None):
    root = rng.normal(size=(d, d if rank is None else rank))
    return root @ root.T


def random_system(seed, d, k, n=None, noise_rank=None):
    """Draw a system; with n, everything that may vary in time does."""
    rng = np.random.default_rng(seed)

    def many(draw):
        return draw() if n is None else np.stack([draw() for _ in range(n)])

    return LinearGaussianSystem(
        transition_matrix=many(lambda: 0.6 * rng.normal(size=(d, d))),
        transition_covariance=many(lambda: covariance(rng, d, noise_rank)),
        observation_matrix=many(lambda: rng.normal(size=(k, d))),
        observation_covariance=many(lambda: covariance(rng, k) + 0.1 * np.eye(k)),
        initial_mean=rng.normal(size=d),
        initial_covariance=covariance(rng, d, noise_rank),
        transition_intercept=many(lambda: rng.normal(size=d)),
        observation_intercept=many(lambda: rng.normal(size=k)),
    )


class Joint:
    """The obvious way: one Gaussian over all states and all observations."""

    def __init__(self, system, y):
        d, k = system.dimensions
        y = np.asarray(y, dtype=float).reshape(-1, k)
        n = len(y)

        def at(name, rank, t):
            value = np.asarray(getattr(system, name), dtype=float)
            value = value[t] if value.ndim == rank + 1 else value
            return value.reshape((d, k)[name.startswith("obs")] if rank == 1 else value.shape)

        mean = np.zeros((n, d))
        # x_t = mean_t + sum_s (F_t ... F_{s+1}) noise_s: stack the noises' loadings.
        load = np.zeros((n * d, n * d))
        cov = np.zeros((n * d, n * d))
        for t in range(n):
            row = slice(t * d, (t + 1) * d)
            if t == 0:
                mean[0] = system.initial_mean
                cov[row, row] = system.initial_covariance
            else:
                f = at("transition_matrix", 2, t)
                mean[t] = at("transition_intercept", 1, t) + f @ mean[t - 1]
                load[row] = f @ load[(t - 1) * d : t * d]
                cov[row, row] = at("transition_covariance", 2, t)
            load[row, row] = np.eye(d)
        self.prior_mean = mean.ravel()
        self.prior_cov = load @ cov @ load.T
        self.h = np.zeros((n * k, n * d))
        self.r = np.zeros((n * k, n * k))
        self.c = np.zeros(n * k)
        for t in range(n):
            rows = slice(t * k, (t + 1) * k)
            self.h[rows, t * d : (t + 1) * d] = at("observation_matrix", 2, t)
            self.r[rows, rows] = at("observation_covariance", 2, t)
            self.c[rows] = at("observation_intercept", 1, t)
        self.y, self.n, self.d, self.k = y.ravel(), n, d, k

    def given_before(self, time):
        """Condition on the observations before a time: means, covariance, log-density."""
        there = ~np.isnan(self.y) & (np.arange(self.n * self.k) < time * self.k)
        if not there.any():
            return self.prior_mean.reshape(self.n, self.d), self.prior_cov, 0.0
        h = self.h[there]
        s = h @ self.prior_cov @ h.T + self.r[np.ix_(there, there)]
        centre = self.c[there] + h @ self.prior_mean
        gain = np.linalg.solve(s, h @ self.prior_cov).T
        mean = self.prior_mean + gain @ (self.y[there] - centre)
        log_density = stats.multivariate_normal(centre, s).logpdf(self.y[there])
        cov = self.prior_cov - gain @ h @ self.prior_cov
        return mean.reshape(self.n, self.d), cov, float(log_density)

    def block(self, cov, s, t):
        d = self.d
        return cov[s * d : (s + 1) * d, t * d : (t + 1) * d]


def simulate_y(seed, n, k, missing):
    rng = np.random.default_rng(seed)
    y = 2.0 * rng.normal(size=(n, k))
    y[rng.random((n, k)) < missing] = np.nan
    return y


def assert_equals_joint(system, y):
    joint = Joint(system, y)
    smoothed = kalman_smoother(system, y)
    found = smoothed.filtered
    evidence = 0.0
    close = {"rtol": 1e-8, "atol": 1e-8}
    for t in range(joint.n):
        mean, cov, _ = joint.given_before(t)
        np.testing.assert_allclose(found.predicted_mean[t], mean[t], **close)
        np.testing.assert_allclose(found.predicted_covariance[t], joint.block(cov, t, t), **close)
        mean, cov, up_to_now = joint.given_before(t + 1)
        np.testing.assert_allclose(found.filtered_mean[t], mean[t], **close)
        np.testing.assert_allclose(found.filtered_covariance[t], joint.block(cov, t, t), **close)
        np.testing.assert_allclose(found.log_evidence_increments[t], up_to_now - evidence, **close)
        evidence = up_to_now
    mean, cov, evidence = joint.given_before(joint.n)
    assert found.log_evidence == pytest.approx(evidence, abs=1e-8)
    assert smoothed.log_evidence == found.log_evidence
    assert log_likelihood(system, y) == pytest.approx(evidence, abs=1e-8)
    np.testing.assert_allclose(smoothed.mean, mean, **close)
    assert smoothed.lag_one_covariance.shape == (joint.n - 1, joint.d, joint.d)
    for t in range(joint.n):
        np.testing.assert_allclose(smoothed.covariance[t], joint.block(cov, t, t), **close)
        if t < joint.n - 1:
            np.testing.assert_allclose(
                smoothed.lag_one_covariance[t], joint.block(cov, t, t + 1), **close
            )


def test_nile_reference():
    y = nile().volume
    found = kalman_filter(NILE, y)
    smoothed = kalman_smoother(NILE, y)
    assert round(found.log_evidence, 6) == -639.300724
    assert round(log_likelihood(NILE, y), 6) == -639.300724
    assert round(found.filtered_mean[99, 0], 4) == 798.3703
    assert round(found.filtered_covariance[99, 0, 0], 4) == 4032.1579
    assert round(smoothed.mean[0, 0], 4) == 1107.3402
    assert round(smoothed.covariance[0, 0, 0], 4) == 3875.8765
    assert round(smoothed.mean[28, 0], 4) == 950.9294
    assert round(smoothed.covariance[28, 0, 0], 4) == 2326.7569
    assert round(smoothed.mean[49, 0], 4) == 834.7633
    assert round(smoothed.mean.sum(), 4) == 91918.7927


def nile_with_gaps():
    y = nile().volume.copy()
    y[20:40] = np.nan
    y[60:80] = np.nan
    return y


def test_nile_reference_with_missing_observations():
    y = nile_with_gaps()
    assert round(kalman_filter(NILE, y).log_evidence, 6) == -387.341789
    assert round(log_likelihood(NILE, y), 6) == -387.341789


def test_missing_observations_carry_nothing():
    found = kalman_filter(NILE, nile_with_gaps())
    np.testing.assert_array_equal(found.log_evidence_increments[20:40], 0.0)
    np.testing.assert_array_equal(found.filtered_mean[20:40], found.predicted_mean[20:40])
    # A local level forecasts its last level, with a variance that grows by q each year.
    np.testing.assert_allclose(found.filtered_mean[20:40], found.filtered_mean[19, 0])
    np.testing.assert_allclose(np.diff(found.filtered_covariance[20:40, 0, 0]), 1469.1)


def test_toy_reference():
    found = kalman_filter(TOY, [0.0, 1.0, 2.0])
    assert round(found.log_evidence, 6) == -5.079276
    assert found.filtered_mean[:, 0].round(4).tolist() == [0.0, 0.4545, 1.2093]
    assert found.filtered_covariance[:, 0, 0].round(4).tolist() == [0.6667, 0.9091, 0.9767]


def test_negative_twin_a_transition_before_the_first_observation_is_wrong():
    early = scalar(q=1.0, r=2.0, m=0.0, p=1.0 + 1.0)
    assert abs(log_likelihood(early, [0.0, 1.0, 2.0]) + 5.079276) > 0.05


SEEDS = st.integers(0, 2**32 - 1)


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(1, 3), st.integers(1, 3), st.integers(1, 6), st.booleans())
def test_equals_the_joint_gaussian(seed, d, k, n, varying):
    system = random_system(seed, d, k, n if varying else None)
    assert_equals_joint(system, simulate_y(seed + 1, n, k, missing=0.3))


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.integers(1, 6), st.booleans())
def test_equals_the_joint_gaussian_when_states_move_without_noise(seed, n, varying):
    # Rank one noise in three dimensions: no predicted covariance can be inverted at first.
    system = random_system(seed, 3, 2, n if varying else None, noise_rank=1)
    assert_equals_joint(system, simulate_y(seed + 1, n, 2, missing=0.2))


def test_a_start_that_is_known_and_noise_that_is_absent():
    known = scalar(f=1.2, q=0.0, r=0.5, m=2.0, p=0.0)
    found = kalman_smoother(known, [2.1, np.nan, 3.0])
    np.testing.assert_allclose(found.mean[:, 0], 2.0 * 1.2 ** np.arange(3))
    np.testing.assert_array_equal(found.covariance, 0.0)
    expected = stats.norm(2.0, 0.5**0.5).logpdf(2.1) + stats.norm(2.88, 0.5**0.5).logpdf(3.0)
    assert found.log_evidence == pytest.approx(expected, rel=1e-13)


def test_observations_without_error_are_met_exactly():
    y = np.array([[1.0], [0.3], [-0.2]])
    found = kalman_smoother(scalar(r=0.0), y)
    np.testing.assert_allclose(found.mean, y)
    np.testing.assert_allclose(found.covariance, 0.0, atol=1e-15)


def test_nothing_observed_gives_the_prior():
    found = kalman_smoother(scalar(f=0.5, b=1.0, m=4.0), np.full(3, np.nan))
    assert found.log_evidence == 0.0
    np.testing.assert_allclose(found.mean[:, 0], [4.0, 3.0, 2.5])
    np.testing.assert_allclose(found.lag_one_covariance[:, 0, 0], [0.5, 0.5 * 1.25])


@settings(deadline=None, max_examples=30)
@given(SEEDS)
def test_the_scalar_path_equals_the_matrix_path(seed):
    rng = np.random.default_rng(seed)
    f, h, m, b, c = rng.normal(size=5)
    q, r, p = rng.exponential(size=3)
    system = scalar(f, q, h, r, m, p, b, c)
    y = simulate_y(seed, 20, 1, 0.2)[:, 0]
    assert log_likelihood(system, y) == pytest.approx(
        kalman_filter(system, y).log_evidence, rel=1e-11
    )


def test_long_series_keep_their_covariances_symmetric_and_positive():
    rng = np.random.default_rng(0)
    # Nearly noiseless observation of an integrator of order three: the textbook update fails.
    system = LinearGaussianSystem(
        transition_matrix=[[1, 1, 0.5], [0, 1, 1], [0, 0, 1]],
        transition_covariance=np.diag([0.0, 0.0, 1e-6]),
        observation_matrix=[[1.0, 0.0, 0.0]],
        observation_covariance=1e-8,
        initial_mean=np.zeros(3),
        initial_covariance=1e8 * np.eye(3),
    )
    found = kalman_smoother(system, np.cumsum(rng.normal(size=500)))
    for cov in (found.filtered.filtered_covariance, found.covariance):
        np.testing.assert_array_equal(cov, cov.swapaxes(1, 2))
    lowest = np.linalg.eigvalsh(found.filtered.filtered_covariance).min(axis=1)
    highest = np.linalg.eigvalsh(found.filtered.filtered_covariance).max(axis=1)
    assert np.all(lowest > -1e-12 * highest)


def test_the_arguments_are_left_alone_and_values_pickle():
    y = nile_with_gaps()
    before = y.copy()
    kalman_smoother(NILE, y)
    np.testing.assert_array_equal(y, before)
    copy = pickle.loads(pickle.dumps(NILE))
    assert log_likelihood(copy, y) == log_likelihood(NILE, y)
    assert pickle.loads(pickle.dumps(kalman_filter(NILE, y))).filtered_mean.shape == (100, 1)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([], r"y must have shape \(T,\) or \(T, 1\) with T >= 1; came \(0,\)"),
        (1.0, r"came \(\)"),
        (np.zeros((3, 2)), r"came \(3, 2\)"),
        ([0.0, np.inf], r"infinite value at time 1"),
    ],
)
@pytest.mark.parametrize("function", [kalman_filter, kalman_smoother, log_likelihood])
def test_bad_observations(function, y, words):
    with pytest.raises(ValueError, match=words):
        function(TOY, y)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"transition_matrix": np.eye(3)}, r"transition_matrix must have shape \(2, 2\)"),
        ({"transition_matrix": 1.0}, r"transition_matrix must .* came \(\)"),
        ({"initial_covariance": np.zeros((4, 2, 2))}, "initial_covariance must have shape"),
        ({"observation_covariance": np.eye(2)}, r"must have shape \(1, 1\); came \(2, 2\)"),
        ({"transition_covariance": [[1, 2], [2, 1]]}, "smallest eigenvalue -1"),
        ({"transition_covariance": [[1, 0.5], [0, 1]]}, "came asymmetry 0.5"),
        ({"observation_covariance": -1.0}, "smallest eigenvalue -1"),
        ({"initial_mean": [0.0, np.nan]}, "initial_mean must be finite; came nan"),
        ({"transition_intercept": [1.0, 2.0, 3.0]}, "transition_intercept must have shape"),
    ],
)
def test_bad_systems(change, words):
    good = {
        "transition_matrix": np.eye(2),
        "transition_covariance": np.eye(2),
        "observation_matrix": [[1.0, 0.0]],
        "observation_covariance": 1.0,
        "initial_mean": np.zeros(2),
        "initial_covariance": np.eye(2),
    }
    LinearGaussianSystem(**good)
    with pytest.raises(ValueError, match=words):
        LinearGaussianSystem(**(good | change))


def test_time_varying_arrays_must_have_one_entry_per_observation():
    system = scalar(q=np.ones((4, 1, 1)))
    with pytest.raises(ValueError, match="here 3; came 4"):
        kalman_filter(system, np.zeros(3))
    with pytest.raises(ValueError, match="here 3; came 4"):
        log_likelihood(system, np.zeros(3))


@pytest.mark.parametrize("function", [kalman_filter, log_likelihood])
def test_an_observation_without_density_is_an_error(function):
    with pytest.raises(ValueError, match="time 0 must have a density"):
        function(scalar(r=0.0, p=0.0), [1.0])
