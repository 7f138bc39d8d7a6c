"""The oracle itself: against Kalman, against the reference, against a finer grid."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from aisle_smc.ssm.kalman import LinearGaussianSystem, kalman_smoother
from tests.oracles.pointmass import point_mass_filter

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "ssm"


def test_equals_kalman_on_a_linear_gaussian_model():
    y = np.array([0.0, 1.0, np.nan, 2.0, -1.5])
    system = LinearGaussianSystem(
        transition_matrix=0.8,
        transition_covariance=0.5,
        observation_matrix=1.5,
        observation_covariance=2.0,
        initial_mean=0.3,
        initial_covariance=1.2,
        transition_intercept=0.4,
    )
    exact = kalman_smoother(system, y)
    found = point_mass_filter(
        y,
        np.linspace(-12.0, 14.0, 301),
        lambda x: norm.logpdf(x, 0.3, 1.2**0.5),
        lambda x_prev, x: norm.logpdf(x, 0.4 + 0.8 * x_prev, 0.5**0.5),
        lambda y, x: norm.logpdf(y, 1.5 * x, 2.0**0.5),
    )
    close = {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(
        found.log_evidence_increments, exact.filtered.log_evidence_increments, **close
    )
    np.testing.assert_allclose(found.filtered_mean, exact.filtered.filtered_mean[:, 0], **close)
    np.testing.assert_allclose(
        found.filtered_variance, exact.filtered.filtered_covariance[:, 0, 0], **close
    )
    np.testing.assert_allclose(found.smoothed_mean, exact.mean[:, 0], **close)
    np.testing.assert_allclose(found.smoothed_variance, exact.covariance[:, 0, 0], **close)


def gbp_returns():
    source = SHARED / "gbp_usd.csv"
    if not source.exists():
        pytest.skip("gbp_usd.csv is not beside this checkout, in ../shared/data/ssm; not shipped")
    with source.open() as lines:
        price = np.array([float(row["gbp_per_usd"]) for row in csv.DictReader(lines)])
    return 100.0 * np.diff(np.log(price))


def stochastic_volatility(y, points):
    mu, rho, sigma = -1.02, 0.9702, 0.178
    sd = sigma / np.sqrt(1.0 - rho**2)
    return point_mass_filter(
        y,
        np.linspace(mu - 9.0 * sd, mu + 9.0 * sd, points),
        lambda x: norm.logpdf(x, mu, sd),
        lambda x_prev, x: norm.logpdf(x, mu + rho * (x_prev - mu), sigma),
        lambda y, x: norm.logpdf(y, 0.0, np.exp(0.5 * x)),
    ).log_evidence


def test_reference_stochastic_volatility_on_gbp_usd():
    y = gbp_returns()
    assert y.shape == (750,)
    coarse, fine = stochastic_volatility(y, 200), stochastic_volatility(y, 399)
    assert coarse == pytest.approx(fine, abs=1e-9)
    assert round(fine, 6) == -492.454243
