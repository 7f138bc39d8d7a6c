"""Single-run variances against finite models, where every truth is a matrix product."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aisle_smc.diagnostics import EveVariance, LagVariance, distinct_ancestors
from tests.oracles import genealogy as oracle
from tests.oracles.feynman_kac import FiniteModel, multinomial, random_model, run, systematic


def z_score(values, truth):
    return (values.mean() - truth) / (values.std(ddof=1) / math.sqrt(values.size))


def eve_variances(runs):
    out = []
    for r in range(runs.evidence.size):
        eve = EveVariance()
        runs.feed(r, eve)
        out.append(eve.variance)
    return np.array(out)


def lag_variances(runs, lag=None):
    out = []
    for r in range(runs.evidence.size):
        recent = LagVariance(lag)
        runs.feed(r, recent)
        out.append(recent.variance)
    return np.array(out)


def history(runs, r):
    """Weights and parents (None without resampling) of one replicate."""
    parents = [
        runs.ancestors[t, r] if runs.resampled[t, r] else None
        for t in range(1, runs.weights.shape[0])
    ]
    return list(runs.weights[:, r]), parents


# --- the oracle itself ---------------------------------------------------------------------------


def paths_of(model):
    return itertools.product(range(model.initial.size), repeat=model.length)


def test_model_against_sums_over_paths():
    model = random_model(3, states=3, length=4)
    mass = {}
    for path in paths_of(model):
        p = model.initial[path[0]] * model.potentials[0, path[0]]
        for t in range(1, 4):
            p *= model.transition[path[t - 1], path[t]] * model.potentials[t, path[t]]
        mass[path] = p
    z = sum(mass.values())
    assert math.isclose(model.evidence(), z, rel_tol=1e-12)
    np.testing.assert_allclose(model.evidences()[-1], z)
    for t in range(4):
        law = [sum(p for path, p in mass.items() if path[t] == s) / z for s in range(3)]
        np.testing.assert_allclose(model.smoothers()[t], law, rtol=1e-12)
    np.testing.assert_allclose(model.filters()[-1], model.smoothers()[-1])


def test_second_moment_by_enumeration_of_one_generation():
    model = random_model(3, states=3, length=1)
    g, p = model.potentials[0], model.initial
    mean = (p @ g) ** 2
    for n in (1, 2, 5):
        exact = mean + (p @ g**2 - mean) / n
        assert math.isclose(model.second_moment(n), exact, rel_tol=1e-12)


def test_finite_variance_approaches_the_asymptotic_one():
    model = random_model(3, length=6)
    n = 10**6
    assert math.isclose(n * model.relative_variance(n), model.asymptotic_variance(), rel_tol=1e-4)


@pytest.mark.parametrize("resample", [multinomial, systematic])
@pytest.mark.parametrize("threshold", [2.0, 0.5])
def test_filter_of_the_oracle_is_unbiased(resample, threshold):
    model = random_model(1, length=5)
    for n in (2, 5, 50):
        runs = run(model, n, 4000, 10, resample=resample, threshold=threshold)
        assert abs(z_score(runs.evidence / model.evidence(), 1.0)) < 4.0


# --- definitions ---------------------------------------------------------------------------------


@settings(max_examples=30)
@given(
    seed=st.integers(0, 1000),
    n=st.integers(2, 9),
    length=st.integers(1, 9),
    threshold=st.sampled_from([0.0, 0.5, 2.0]),
    lag=st.integers(1, 5),
)
def test_online_values_are_those_of_whole_histories(seed, n, length, threshold, lag):
    model = random_model(seed, length=length)
    runs = run(model, n, 1, seed, threshold=threshold)
    weights, parents = history(runs, 0)
    eve, recent, families = EveVariance(), LagVariance(lag), np.arange(n)
    starts = [0]
    for t in range(length):
        row = parents[t - 1] if t else None
        eve.update(weights[t], row)
        recent.update(weights[t], row)
        if row is not None:
            families = families[row]
            if t - starts[-1] >= lag:
                starts.append(t)
        so_far = weights[: t + 1], parents[:t]
        assert eve.families == np.unique(families).size
        assert math.isclose(eve.variance, oracle.eve_variance(*so_far), abs_tol=1e-9)
        assert math.isclose(
            recent.variance, oracle.lag_variance(*so_far, starts), rel_tol=1e-9, abs_tol=1e-12
        )
        assert recent.levels == len(starts)


def test_without_resampling_both_are_the_variance_of_the_weights():
    model = random_model(2, length=6)
    runs = run(model, 20, 1, 3, threshold=0.0)
    w = runs.weights[-1, 0]
    expected = (20 * (w**2).sum() - 1) / 19
    assert math.isclose(eve_variances(runs)[0], expected, rel_tol=1e-12)
    assert math.isclose(lag_variances(runs)[0], expected, rel_tol=1e-12)


@pytest.mark.parametrize("resample", [multinomial, systematic])
def test_constant_potentials_have_no_error(resample):
    model = random_model(2, length=12, spread=0.0)
    runs = run(model, 20, 5, 3, resample=resample)
    assert np.all(np.abs(lag_variances(runs)) < 1e-25)
    assert np.abs(eve_variances(runs)).max() > 0.05, "sibling counts are not the error"


def test_weights_around_resampling_replace_the_usual_ones():
    def variance(*around):
        recent = LagVariance(lag=5)
        recent.update(np.array([0.25, 0.75]))
        recent.update(np.array([0.5, 0.5]), np.array([0, 1]), *around)
        return recent.variance

    # Gains of the first family: to 0.25 or as drawn, then from one half or as carried to 0.5.
    for around, gain in [
        ((), -0.25),
        ((np.array([0.3, 0.7]),), -0.2),
        ((None, np.array([0.2, 0.8])), -0.25 + 0.3),
        ((np.array([0.1, 0.9]), np.array([0.2, 0.8])), -0.4 + 0.3),
    ]:
        assert math.isclose(variance(*around), 2 * 2 * gain**2, rel_tol=1e-12)


def test_number_of_particles_may_change():
    eve, recent = EveVariance(), LagVariance(lag=1)
    for accumulator in (eve, recent):
        accumulator.update(np.array([0.25, 0.75]))
        accumulator.update(np.array([0.2, 0.3, 0.5]), np.array([0, 1, 1]))
    # The families have 0.2 and 0.8; the first gained -0.25, then 0.2 - 1/3, the other the rest.
    assert math.isclose(eve.variance, 1.0 - 2 * 1.5 * 2 * 0.2 * 0.8, rel_tol=1e-12)
    gain = 0.25 + 1 / 3 - 0.2
    assert math.isclose(recent.variance, 2 * 2 * gain**2, rel_tol=1e-12)


# --- truth ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 5, 50])
def test_eve_variance_is_unbiased_for_any_number_of_particles(n):
    # E Z_hat^2 V = Var Z_hat.  With 4000 replicates a relative error of 20 % gives |z| > 4.
    model = random_model(5, length=4, spread=0.7)
    runs = run(model, n, 4000, 2)
    scaled = (runs.evidence / model.evidence()) ** 2
    variance = eve_variances(runs)
    assert abs(z_score(scaled * variance, model.relative_variance(n))) < 4.0
    # The negative twin, one generation miscounted.
    wrong = 1.0 - (1.0 - variance) * (n / (n - 1))
    assert abs(z_score(scaled * wrong, model.relative_variance(n))) > 4.0


@pytest.mark.parametrize("n", [2, 5, 50])
@pytest.mark.parametrize("threshold", [0.6, 0.7])
def test_eve_variance_is_unbiased_when_resampling_adapts(n, threshold):
    # E Z_hat^2 (1 - V) = Z^2, whatever the variance of this filter may be.
    model = random_model(5, length=6, spread=0.7)
    runs = run(model, n, 4000, 4, threshold=threshold)
    assert 0.0 < runs.resampled[1:].mean() < 1.0
    scaled = (runs.evidence / model.evidence()) ** 2
    kept = 1.0 - eve_variances(runs)
    assert abs(z_score(scaled * kept, 1.0)) < 4.0
    # The negative twin counts the steps that did not resample, too.
    idle = (~runs.resampled[1:]).sum(axis=0)
    wrong = scaled * kept * (n / (n - 1)) ** idle
    assert abs(z_score(wrong, 1.0)) > 4.0


LONG = random_model(11, states=5, length=80, stay=0.3, spread=0.6)
N = 200


@pytest.fixture(scope="module")
def long_runs():
    return run(LONG, N, 300, 6)


@pytest.mark.parametrize("lag", [None, 5])
def test_lag_variance_is_the_asymptotic_one(long_runs, lag):
    # The standard error of the mean is about 1 % here.
    values = N * lag_variances(long_runs, lag)
    truth = LONG.asymptotic_variance()
    assert abs(values.mean() / truth - 1.0) < 0.12
    assert values.std() < 0.25 * truth


def test_first_ancestors_degenerate_where_recent_ones_do_not(long_runs):
    eve, recent = eve_variances(long_runs), lag_variances(long_runs)
    assert eve.std() > 4.0 * recent.std()


def test_a_lag_shorter_than_the_memory_misses_variance():
    # The standard error of the mean is about 4 % here.
    sticky = random_model(11, states=5, length=40, stay=0.85, spread=0.4)
    runs = run(sticky, 800, 60, 6)
    truth = sticky.asymptotic_variance()
    short, adapted = (800 * lag_variances(runs, lag).mean() for lag in (1, None))
    assert short < 0.4 * truth
    assert 0.8 * truth < adapted < 1.1 * truth


@pytest.mark.parametrize("threshold", [2.0, 0.5])
@pytest.mark.parametrize(
    ("stay", "spread"), [(0.3, 0.6), (0.9, 0.4)], ids=["forgets quickly", "forgets slowly"]
)
def test_lag_variance_is_right_for_systematic_resampling(threshold, stay, spread):
    # No formula: the truth is the variance of log Z_hat over 2000 replicates, known to 3.2 %.
    model = random_model(11, states=5, length=40, stay=stay, spread=spread)
    runs = run(model, N, 2000, 8, resample=systematic, threshold=threshold)
    truth = np.log(runs.evidence).var()
    few = run(model, N, 300, 9, resample=systematic, threshold=threshold)
    assert 0.85 < lag_variances(few).mean() / truth < 1.2
    if threshold > 1.0:
        assert eve_variances(few).mean() < 0.0, "right for multinomial resampling only"


@pytest.mark.parametrize("resample", [multinomial, systematic])
def test_lag_variance_is_right_for_an_auxiliary_filter(resample):
    # No formula again: 2000 replicates know the truth to 3.2 %.
    model = random_model(11, states=5, length=40, stay=0.3, spread=0.6)
    ahead = np.random.default_rng(12).gamma(4.0, size=model.potentials.shape)
    runs = run(model, N, 2000, 8, resample=resample, lookahead=ahead)
    assert abs(z_score(runs.evidence / model.evidence(), 1.0)) < 4.0
    truth = np.log(runs.evidence).var()
    right, wrong = [], []
    for r in range(200):
        told, untold = LagVariance(), LagVariance()
        runs.feed(r, told, drawn=True)
        runs.feed(r, untold)
        right.append(told.variance)
        wrong.append(untold.variance)
    assert 0.85 < np.mean(right) / truth < 1.2
    if resample is systematic:
        assert abs(np.mean(wrong) / truth - 1.0) > 0.3, "the negative twin forgets to look ahead"


@pytest.mark.parametrize("n", [2, 5, 50])
def test_eve_variance_is_unbiased_for_an_auxiliary_filter(n):
    model = random_model(5, length=5, spread=0.7)
    ahead = np.random.default_rng(12).gamma(8.0, size=model.potentials.shape)
    runs = run(model, n, 4000, 4, lookahead=ahead)
    scaled = (runs.evidence / model.evidence()) ** 2
    assert abs(z_score(scaled * (1.0 - eve_variances(runs)), 1.0)) < 4.0


# --- edges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [EveVariance, LagVariance])
def test_a_single_particle_knows_nothing(kind):
    accumulator = kind()
    assert math.isnan(accumulator.variance)
    accumulator.update(np.array([1.0]))
    accumulator.update(np.array([1.0]), np.array([0]))
    assert math.isnan(accumulator.variance)
    assert math.isnan(accumulator.error)


@pytest.mark.parametrize("kind", [EveVariance, LagVariance])
def test_no_mass_has_no_error(kind):
    accumulator = kind()
    accumulator.update(np.array([0.5, 0.5]))
    accumulator.update(np.zeros(2))
    assert math.isnan(accumulator.variance)


@pytest.mark.parametrize("kind", [EveVariance, LagVariance])
def test_updates_keep_no_hold_on_the_arrays(kind):
    accumulator = kind()
    weights, parents = np.array([0.3, 0.7]), np.array([1, 0])
    accumulator.update(weights)
    accumulator.update(weights, parents)
    before = accumulator.variance
    assert accumulator.variance == before, "asking changes nothing"
    weights[:] = 0.5
    parents[:] = 0
    assert accumulator.variance == before
    assert accumulator.error == math.sqrt(max(before, 0.0))


def test_one_family_is_exactly_one_however_long():
    eve = EveVariance()
    eve.update(np.full(10, 0.1))
    for _ in range(10_000):
        eve.update(np.full(10, 0.1), np.zeros(10, dtype=np.int64))
    assert eve.variance == 1.0


@pytest.mark.parametrize("kind", [EveVariance, LagVariance])
@pytest.mark.parametrize(
    ("weights", "parents", "words"),
    [
        ([0.5, 0.6], None, "normalised"),
        ([0.5, np.nan], None, "normalised"),
        ([[1.0]], None, "shape"),
        ([], None, "shape"),
        ([0.2, 0.3, 0.5], None, "2 weights, as before; got 3"),
        ([0.5, 0.5], [0], "2 integers"),
        ([0.5, 0.5], [0.0, 1.0], "2 integers"),
        ([0.5, 0.5], [0, 2], r"ancestors\[1\] is 2"),
        ([0.5, 0.5], [-1, 0], r"ancestors\[0\] is -1"),
    ],
)
def test_errors_say_what_came(kind, weights, parents, words):
    accumulator = kind()
    accumulator.update(np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match=words):
        accumulator.update(np.array(weights), None if parents is None else np.array(parents))


def test_other_errors():
    with pytest.raises(ValueError, match="at least 1 step"):
        LagVariance(0)
    with pytest.raises(ValueError, match="no ancestors"):
        EveVariance().update(np.array([1.0]), np.array([0]))
    recent = LagVariance()
    recent.update(np.array([0.5, 0.5]))
    half, both = np.array([0.5, 0.5]), np.array([0, 1])
    with pytest.raises(ValueError, match="normalised"):
        recent.update(half, both, np.array([1.0, 1.0]))
    with pytest.raises(ValueError, match="normalised"):
        recent.update(half, both, half, np.array([1.0, 1.0]))


# --- distinct ancestors --------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12), length=st.integers(1, 8))
def test_distinct_ancestors_count_the_lineages(seed, n, length):
    rng = np.random.default_rng(seed)
    rows = [None if rng.random() < 0.3 else rng.integers(n, size=n) for _ in range(length - 1)]
    full = np.array([np.arange(n) if row is None else row for row in rows]).reshape(-1, n)
    lineages = oracle.lineages(full, np.arange(n))
    expected = [np.unique(column).size for column in lineages.T]
    np.testing.assert_array_equal(distinct_ancestors(rows, n), expected)


def test_finite_model_is_frozen():
    with pytest.raises(AttributeError):
        random_model(1).initial = None  # type: ignore[misc]
    assert isinstance(random_model(1), FiniteModel)
