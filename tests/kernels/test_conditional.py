"""Conditional resampling: exact law, and conditional SMC leaves the smoothing law invariant."""

from __future__ import annotations

import itertools
import math

import numba
import numpy as np
import pytest
from aisle_kernels import conditional as kernels
from aisle_kernels import resampling
from aisle_kernels._jit import scalar
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import conditional as oracle

SCHEMES = ["multinomial", "stratified", "systematic", "killing"]
COMPILED = not numba.config.DISABLE_JIT
needs_replicates = pytest.mark.skipif(not COMPILED, reason="too few replicates when uncompiled")
LAST_UNIFORM = 1.0 - 2.0**-53


def conditional(scheme):
    return getattr(kernels, f"conditional_{scheme}")


def uniforms(scheme, n, m):
    return getattr(kernels, f"conditional_{scheme}_uniforms")(n, m)


def resample(scheme, w, u, retained, m):
    ancestors = np.full(m, -7, dtype=np.int64)
    w, u = np.asarray(w, dtype=float), np.asarray(u, dtype=float)
    conditional(scheme)(w, u, retained, ancestors)
    return ancestors


def sizes(scheme):
    same = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (40, 40)]
    return same if scheme == "killing" else [*same, (3, 2), (4, 9), (2, 1), (40, 100), (100, 40)]


CASES = [(scheme, n, m) for scheme in SCHEMES for n, m in sizes(scheme)]


@pytest.mark.parametrize(("scheme", "n", "m"), CASES)
@pytest.mark.parametrize("spread", [0.0, 1.0, 5.0])
def test_against_oracle(scheme, n, m, spread):
    rng = np.random.default_rng(100 * n + m)
    for _ in range(10):
        w = np.exp(spread * rng.normal(size=n))
        if n > 2:
            w[rng.integers(n)] = 0.0
        retained = int(rng.choice(np.flatnonzero(w)))
        u = rng.random(uniforms(scheme, n, m))
        expected = getattr(oracle, scheme)(w, u, retained, m)
        assert np.array_equal(resample(scheme, w, u, retained, m), expected)


# Range and positive weights.

weight = st.one_of(
    st.floats(0.0, 10.0),
    st.sampled_from([0.0, 0.0, 1.0, 5e-324, 1e-320, 2.3e-308, 1e-300, 1e300, 1.7e308]),
)
unit = st.one_of(st.floats(0.0, LAST_UNIFORM), st.sampled_from([0.0, 0.5, LAST_UNIFORM]))


@pytest.mark.parametrize("scheme", SCHEMES)
@given(data=st.data())
def test_any_weights(scheme, data):
    """Also for a retained parent whose weight has underflowed: it has one offspring, no more."""
    w = np.array(data.draw(st.lists(weight, min_size=1, max_size=10).filter(lambda w: max(w) > 0)))
    n = len(w)
    m = n if scheme == "killing" else data.draw(st.integers(1, 12))
    retained = data.draw(st.integers(0, n - 1))
    number = uniforms(scheme, n, m)
    u = data.draw(st.lists(unit, min_size=number, max_size=number))
    ancestors = resample(scheme, w, u, retained, m)
    assert ancestors[0] == retained
    assert ancestors.min() >= 0
    assert ancestors.max() < n
    assert (w[ancestors[1:]] > 0.0).all()
    if scheme == "systematic":
        # The counts are those of a systematic draw that gives the retained parent at least one.
        x = m * np.array([float(v) / float(w.max()) for v in w])
        x = x / math.fsum(x / m)
        count = np.bincount(ancestors, minlength=n)
        slack = 1e-9 + (x[retained] < 1e-9)
        assert (count <= np.ceil(x + 1e-9) + (np.arange(n) == retained) * slack).all()
        assert (count >= np.floor(x - slack)).all()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_usable_weight_leaves_the_retained_parent(scheme):
    for w in (np.zeros(5), np.full(5, np.nan), np.full(5, np.inf)):
        u = np.full(uniforms(scheme, 5, 5), 0.3)
        assert np.array_equal(resample(scheme, w, u, 3, 5), np.full(5, 3))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_heavy_parent(scheme):
    for n, heavy, value in itertools.product([2, 9], [0, 1], [0.0, 0.5, LAST_UNIFORM]):
        for scale in (1.0, 1e-320, 1.7e308):
            w = np.eye(n)[heavy] * scale
            u = np.full(uniforms(scheme, n, n), value)
            assert np.array_equal(resample(scheme, w, u, heavy, n), np.full(n, heavy))
            other = resample(scheme, w, u, 1 - heavy, n)
            assert other[0] == 1 - heavy
            assert (other[1:] == heavy).all()


# The law of all ancestors, against the unconditional scheme filtered on A_K = retained.

ROTATED, EXCHANGED, SORTED = 0, 1, 2


@scalar
def tally_filtered(scheme, number, shifted, order, w, retained, ancestors, rng, draws, table):
    """Count results of the unconditional scheme given A_K = retained for a uniform slot K.

    ``shifted`` cuts the circle of parents at a uniform point and lays the scheme from there on.
    """
    n = w.size
    m = ancestors.size
    total = w.sum()
    pieces = np.empty(n + 1)
    owner = np.empty(n + 1, np.int64)
    out = np.empty(m, np.int64)
    accepted = 0
    while accepted < draws:
        u = rng.random(number)
        if shifted:
            point = rng.random() * total
            j = 0
            c = 0.0
            while j < n - 1 and c + w[j] <= point:
                c += w[j]
                j += 1
            for i in range(n + 1):
                owner[i] = (j + i) % n
                pieces[i] = w[owner[i]]
            pieces[0] = c + w[j] - point
            pieces[n] = point - c
            scheme(pieces, u, ancestors)
            for k in range(m):
                ancestors[k] = owner[ancestors[k]]
        else:
            scheme(w, u, ancestors)
        slot = int(rng.random() * m)
        if ancestors[slot] != retained:
            continue
        accepted += 1
        if order == 0:
            for i in range(m):
                out[i] = ancestors[(slot + i) % m]
        else:
            out[:] = ancestors
            out[slot] = ancestors[0]
            out[0] = retained
            if order == 2:
                out[1:].sort()
        code = 0
        for a in out:
            code = code * n + a
        table[code] += 1


@scalar
def tally_conditional(scheme, number, w, retained, ancestors, rng, draws, table):
    for _ in range(draws):
        scheme(w, rng.random(number), retained, ancestors)
        code = 0
        for a in ancestors:
            code = code * w.size + a
        table[code] += 1


def chi_square_score(square, freedom):
    """Return the normal score of a chi-square value (Wilson and Hilferty)."""
    if freedom == 0:
        return 0.0
    v = 2.0 / (9.0 * freedom)
    return ((square / freedom) ** (1 / 3) - (1 - v)) / math.sqrt(v)


def same_law_score(a, b):
    """Return the normal score of the chi-square statistic of two tables with equal totals."""
    seen = (a + b) > 0
    rare = seen & (a + b < 20)
    a = np.append(a[seen & ~rare], a[rare].sum())
    b = np.append(b[seen & ~rare], b[rare].sum())
    keep = a + b > 0
    a, b = a[keep], b[keep]
    return chi_square_score(((a - b) ** 2 / (a + b)).sum(), a.size - 1)


LAW = {
    "multinomial": (resampling.multinomial, False, SORTED),
    "stratified": (resampling.stratified, True, ROTATED),
    "systematic": (resampling.systematic, False, ROTATED),
    "killing": (resampling.killing, False, EXCHANGED),
}
DRAWS = 100_000 if COMPILED else 600
WEIGHTS = np.array([0.5, 1.9, 0.3, 0.9])


def law_score(scheme, candidate, n, m, retained):
    unconditional, shifted, order = LAW[scheme]
    w = WEIGHTS[:n]
    rng = np.random.default_rng(1000 * n + 100 * m + retained)
    ancestors = np.empty(m, dtype=np.int64)
    filtered, conditioned = np.zeros(n**m), np.zeros(n**m)
    number = getattr(resampling, f"{scheme}_uniforms")(n, m)
    tally_filtered(
        unconditional, number, shifted, order, w, retained, ancestors, rng, DRAWS, filtered
    )
    number = uniforms(scheme, n, m)
    tally_conditional(candidate, number, w, retained, ancestors, rng, DRAWS, conditioned)
    return same_law_score(filtered, conditioned)


# A probability that is off by 0.01 scores above 4 in 100 000 draws of each.
@pytest.mark.parametrize("scheme", SCHEMES)
def test_law_is_that_of_the_filtered_scheme(scheme):
    shapes = [(2, 2), (3, 3), (4, 4)]
    for n, m in shapes if scheme == "killing" else [*shapes, (3, 2), (2, 4), (4, 1)]:
        for retained in range(n):
            score = law_score(scheme, conditional(scheme), n, m, retained)
            assert abs(score) < 4.0, (n, m, retained)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 3), (4, 4), (3, 5), (4, 2)])
def test_law_of_systematic_by_integration(n, m):
    """Both laws are step functions of one uniform: a midpoint grid gets them to its step."""
    w = WEIGHTS[:n]
    size = 5000 if COMPILED else 500
    grid = (np.arange(size) + 0.5) / size
    for retained in range(n):
        filtered, conditioned = {}, {}
        for u in grid:
            ancestors = np.empty(m, dtype=np.int64)
            resampling.systematic(w, np.array([u]), ancestors)
            for slot in np.flatnonzero(ancestors == retained):
                key = tuple(np.roll(ancestors, -slot).tolist())
                filtered[key] = filtered.get(key, 0) + 1
            key = tuple(resample("systematic", w, [u], retained, m).tolist())
            conditioned[key] = conditioned.get(key, 0) + 1
        total = sum(filtered.values())
        assert total / size == pytest.approx(m * w[retained] / w.sum(), abs=n * m / size)
        for key in filtered | conditioned:
            difference = filtered.get(key, 0) / total - conditioned.get(key, 0) / size
            assert abs(difference) < 30 / size, key


# Conditional SMC on a finite model with three states, every path enumerated. Weights and
# transitions are asymmetric, so that no error cancels.

START = np.array([0.5, 0.3, 0.2])
MOVE = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.25, 0.05, 0.7]])
POTENTIAL = np.array([[1.0, 0.3, 0.05], [0.1, 1.0, 0.5], [0.7, 0.05, 1.0], [0.1, 0.4, 1.0]])
PATHS = np.array(list(itertools.product(range(3), repeat=4)))
MASS = np.array(
    [
        START[p[0]]
        * math.prod(MOVE[a, b] for a, b in itertools.pairwise(p))
        * math.prod(POTENTIAL[t, s] for t, s in enumerate(p))
        for p in PATHS
    ]
)
EVIDENCE = MASS.sum()
SWEEPS = 300_000 if COMPILED else 1_000


@scalar
def draw(p, u):
    c = 0.0
    for j in range(p.size):
        c += p[j]
        if u < c:
            return j
    return p.size - 1


@scalar
def sweeps(
    count, scheme, number, n, threshold, smoothing, rng, paths, start, move, potential, tally
):
    """From exact paths, do one step of conditional SMC each; count the new paths by their index.

    Resamples when the effective sample size is below ``threshold * n``.  Return the first two
    moments of one over the evidence estimate.
    """
    T = potential.shape[0]
    x = np.zeros((T, n), np.int64)
    a = np.zeros((T, n), np.int64)
    w = np.zeros(n)
    first = 0.0
    second = 0.0
    for _ in range(count):
        path = paths[draw(smoothing, rng.random())]
        z = 1.0
        for t in range(T):
            if t == 0:
                for i in range(n):
                    x[t, i] = draw(start, rng.random())
                w[:] = 1.0
            else:
                if w.sum() ** 2 < threshold * n * (w * w).sum():
                    scheme(w, rng.random(number), 0, a[t])
                    z *= w.sum() / n
                    w[:] = 1.0
                else:
                    for i in range(n):
                        a[t, i] = i
                for i in range(n):
                    x[t, i] = draw(move[x[t - 1, a[t, i]]], rng.random())
            x[t, 0] = path[t]
            for i in range(n):
                w[i] *= potential[t, x[t, i]]
        z *= w.sum() / n
        k = draw(w / w.sum(), rng.random())
        index = 0
        power = 1
        for t in range(T - 1, -1, -1):
            index += power * x[t, k]
            power *= 3
            k = a[t, k]
        tally[index] += 1
        first += 1.0 / z
        second += 1.0 / z**2
    return first, second


def invariance_scores(scheme, number, n, threshold, count=SWEEPS):
    """Return scores of the law of the new path, and of E[1 / Z_hat] = 1 / Z."""
    tally = np.zeros(len(PATHS), dtype=np.int64)
    smoothing = MASS / EVIDENCE
    rng = np.random.default_rng(n)
    model = PATHS, START, MOVE, POTENTIAL
    first, second = sweeps(count, scheme, number, n, threshold, smoothing, rng, *model, tally)
    expected = count * smoothing
    rare = expected < 10
    expected = np.append(expected[~rare], expected[rare].sum())
    found = np.append(tally[~rare], tally[rare].sum())
    keep = expected > 0
    square = ((found - expected)[keep] ** 2 / expected[keep]).sum()
    mean = first / count
    sd = math.sqrt(second / count - mean**2)
    return (
        chi_square_score(square, keep.sum() - 1),
        (mean - 1 / EVIDENCE) / (sd / math.sqrt(count)),
    )


@pytest.mark.parametrize("threshold", [2.0, 0.7], ids=["always", "adaptive"])
@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_conditional_smc_leaves_the_smoothing_law_invariant(scheme, n, threshold):
    scores = invariance_scores(conditional(scheme), uniforms(scheme, n, n), n, threshold)
    assert np.abs(scores).max() < 4.0


@scalar
def overwritten(w, u, retained, ancestors):
    """Put the retained parent over whatever an unconditional draw has in slot 0."""
    resampling.systematic(w, u, ancestors)
    ancestors[0] = retained


@scalar
def sorted_after(w, u, retained, ancestors):
    """Draw correctly, then sort (decreasingly): the retained path has a stale parent."""
    kernels.conditional_multinomial(w, u, retained, ancestors)
    ancestors[:] = np.sort(ancestors)[::-1]


@scalar
def fixed_grid(w, u, retained, ancestors):
    """Do right by the slot but leave the grid of strata where the retained parent begins it."""
    m = ancestors.size
    point = 0.0
    for j in range(retained):
        point += w[j]
    point = (point + w[retained] * u[m]) * m / w.sum()
    slot = int(point)
    u[slot] = point - slot
    parents = np.empty(m, np.int64)
    resampling.stratified(w, u, parents)
    for i in range(m):
        ancestors[i] = parents[(slot + i) % m]


@needs_replicates
@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize(
    ("wrong", "scheme"), [(overwritten, "systematic"), (sorted_after, "multinomial")]
)
def test_negative_twins_are_not_invariant(wrong, scheme, n):
    law, _ = invariance_scores(wrong, uniforms(scheme, n, n), n, 2.0)
    assert law > 10.0


# At n = 2 the order of the parents does not matter.  For the same reason of order, exchanging slot
# K with slot 0 in systematic resampling is not invariant from n = 4 on, but that takes 3e7 sweeps
# to see (scores 5.6 and 0.3 for exchange and rotation), so that it is not among these.
@needs_replicates
@pytest.mark.parametrize("n", [3, 4])
def test_negative_twin_strata_on_a_fixed_grid(n):
    law, _ = invariance_scores(fixed_grid, uniforms("stratified", n, n), n, 2.0, 1_000_000)
    assert law > 8.0


@needs_replicates
def test_negative_twins_have_another_law():
    assert law_score("systematic", overwritten, 3, 3, 1) > 20.0
    assert law_score("stratified", fixed_grid, 3, 3, 1) > 20.0
