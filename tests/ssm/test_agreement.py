from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from aisle_smc import stream
from aisle_smc.ssm.agreement import Place, agreement, uniformity

M = 4000


def verdict(draws, log_density, seed=0):
    draws = np.asarray(draws, dtype=float)
    draws = draws[:, None] if draws.ndim == 1 else draws
    return agreement([Place("here", draws, log_density)], stream(seed))


SCALARS = {
    "normal": stats.norm(3.0, 0.01),
    "far tails": stats.t(1.5, 2.0, 3.0),
    "edge": stats.expon(1.0, 2.0),
    "pole": stats.gamma(0.6),
    "two humps": stats.beta(0.5, 0.5),
    "skewed": stats.lognorm(1.5),
}
COUNTS = {
    "poisson": stats.poisson(3.0),
    "wide": stats.nbinom(2.0, 0.0005),
    "binomial": stats.binom(50, 0.1),
    "one of two": stats.bernoulli(0.3),
}


@pytest.mark.parametrize("law", SCALARS.values(), ids=SCALARS)
def test_a_scalar_density_agrees_with_its_draws(law):
    rng = stream(1)
    found = verdict(law.rvs(M, random_state=rng), lambda x: law.logpdf(x[:, 0]))
    assert found.kind == "ok", found.text


@pytest.mark.parametrize("law", COUNTS.values(), ids=COUNTS)
def test_a_probability_function_agrees_with_its_draws(law):
    rng = stream(1)
    found = verdict(law.rvs(M, random_state=rng), lambda x: law.logpmf(x[:, 0]))
    assert found.kind == "ok", found.text


@pytest.mark.parametrize(
    ("density", "words"),
    [
        (stats.norm(0.0, 0.25), "sd 0.5.*the density has mean .* and sd 0.25"),
        (stats.norm(0.0, 0.62), "and sd 0.62"),
        (stats.norm(0.1, 0.5), "density has mean 0.1"),
        (stats.laplace(0.0, 0.3536), "the density has"),
        (stats.uniform(-1.0, 2.0), "the density is zero at"),
    ],
)
def test_a_wrong_scalar_density_is_found(density, words):
    draws = stream(2).normal(0.0, 0.5, M)
    found = verdict(draws, lambda x: density.logpdf(x[:, 0]))
    assert found.kind == "problem"
    import re

    assert re.search(words, found.text), found.text


def test_a_missing_constant_is_found():
    draws = stream(2).normal(0.0, 1.0, M)
    found = verdict(draws, lambda x: -0.5 * x[:, 0] ** 2)
    assert found.kind == "problem"
    assert "integrates to 2.507, not to 1" in found.text


def test_a_wrong_count_probability_is_found():
    draws = stream(2).poisson(3.0, M)
    found = verdict(draws, lambda x: stats.poisson(3.3).logpmf(x[:, 0]))
    assert found.kind == "problem"
    found = verdict(draws, lambda x: stats.poisson(3.0).logpmf(x[:, 0]) - 0.1)
    assert "sums to 0.9048, not to 1" in found.text


def correlated(d):
    """A covariance with all correlations in it."""
    a = stream(7, d).normal(size=(d, d))
    return a @ a.T / d + 0.2 * np.eye(d)


@pytest.mark.parametrize("d", [2, 5, 15])
def test_several_components_agree(d):
    law = stats.multivariate_normal(np.arange(d), correlated(d))
    found = verdict(law.rvs(M, random_state=stream(3)), law.logpdf)
    assert found.kind == "ok" or (d == 15 and found.kind == "cannot tell"), found.text


def test_several_skewed_components_agree():
    rng = stream(3)
    a = rng.gamma(2.0, 1.0, M)
    draws = np.column_stack([a, a + rng.standard_t(4.0, M)])

    def log_density(x):
        return stats.gamma(2.0).logpdf(x[:, 0]) + stats.t(4.0).logpdf(x[:, 1] - x[:, 0])

    assert verdict(draws, log_density).kind == "ok"
    # The negative twin: the density without the link between the two.
    found = verdict(
        draws, lambda x: stats.gamma(2.0).logpdf(x[:, 0]) + stats.t(4.0).logpdf(x[:, 1])
    )
    assert found.kind == "problem"


@pytest.mark.parametrize("d", [2, 5, 15])
@pytest.mark.parametrize("factor", [0.6, 1.6])
def test_a_wrong_covariance_is_found(d, factor):
    truth = correlated(d)
    law = stats.multivariate_normal(np.zeros(d), truth)
    wrong = stats.multivariate_normal(np.zeros(d), factor * truth)
    found = verdict(law.rvs(M, random_state=stream(3)), wrong.logpdf)
    assert found.kind == "problem"
    if d == 2:
        wrong = stats.multivariate_normal(np.zeros(d), np.diag(np.diag(truth)))
        found = verdict(law.rvs(M, random_state=stream(3)), wrong.logpdf)
        assert found.kind == "problem", "the correlation"


def test_a_wrong_mass_of_several_components_is_found():
    law = stats.multivariate_normal(np.zeros(2), correlated(2))
    found = verdict(law.rvs(M, random_state=stream(3)), lambda x: law.logpdf(x) + 0.2)
    assert found.kind == "problem"
    assert "integrates to 1.2" in found.text


def test_a_constant_component_is_left_out():
    rng = stream(4)
    draws = np.column_stack([np.full(M, 5.0), rng.normal(2.0, 3.0, M)])
    assert verdict(draws, lambda x: stats.norm(2.0, 3.0).logpdf(x[:, 1])).kind == "ok"
    assert verdict(draws, lambda x: stats.norm(2.0, 9.0).logpdf(x[:, 1])).kind == "problem"


def test_whole_number_states():
    rng = stream(5)
    infected = rng.binomial(20, 0.2, M)
    draws = np.column_stack([infected, rng.binomial(infected, 0.5)])

    def log_density(x, p=0.5):
        return stats.binom(20, 0.2).logpmf(x[:, 0]) + stats.binom(x[:, 0], p).logpmf(x[:, 1])

    assert verdict(draws, log_density).kind == "ok"
    found = verdict(draws, lambda x: log_density(x, 0.6))
    assert found.kind == "problem"
    assert "is drawn with frequency" in found.text
    assert "sum to" in verdict(draws, lambda x: log_density(x) + 0.2).text


@pytest.mark.parametrize(
    ("draws", "words"),
    [
        (np.ones(M), "all draws are the same"),
        (
            np.column_stack([np.arange(M) % 2, np.linspace(0.1, 0.9, M)]),
            "numbers and others",
        ),
        (np.repeat(np.linspace(0.1, 0.7, 8), M // 8), "many draws coincide"),
        (np.linspace([0.1, 0.2], [0.3, 0.6], M), "functions of the others"),
    ],
)
def test_what_cannot_be_told_is_said(draws, words):
    found = verdict(draws, lambda x: np.zeros(len(x)))
    assert found.kind == "cannot tell"
    assert words in found.text


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "is nan"), (np.inf, "is inf"), (-np.inf, "is zero at 4000 of")]
)
def test_a_density_that_is_no_number_is_found(value, words):
    draws = stream(6).normal(size=M)
    found = verdict(draws, lambda x: np.full(len(x), value))
    assert found.kind == "problem"
    assert words in found.text
    assert found.text.startswith("at here ")


def test_draws_that_are_not_finite_are_found():
    draws = stream(6).normal(size=M)
    draws[7] = np.inf
    assert "draws are not finite" in verdict(draws, lambda x: x[:, 0]).text


def test_small_errors_add_up_over_places():
    # Five places where the sd is 6 % off: none alone would be accused.
    law = stats.norm(0.0, 1.0)
    rng = stream(9)

    def at(sd, count):
        draws = [rng.normal(0.0, sd, (M, 1)) for _ in range(count)]
        return [Place(str(k), x, lambda x: law.logpdf(x[:, 0])) for k, x in enumerate(draws)]

    assert agreement(at(1.0, 5), rng).kind == "ok"
    assert agreement(at(1.06, 1), rng).kind == "ok"
    assert agreement(at(1.06, 12), rng).kind == "problem"


def test_nothing_to_compare():
    assert agreement([], stream(0)).kind == "cannot tell"


def test_uniformity_is_that_of_scipy():
    for n in (12, 100, 3000):
        u = stream(n).random(n) ** 1.05
        assert uniformity(u) == pytest.approx(stats.kstest(u, "uniform").pvalue, abs=0.03)


def test_uniformity_has_the_right_size():
    p = np.array([uniformity(stream(3, i).random(30)) for i in range(2000)])
    # Binomial: 200 +- 13 of 2000 below a tenth.
    assert abs((p < 0.1).sum() - 200) < 4 * 13.4
