"""Exact finite-state inference against sums over all paths."""

import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aisle_smc.errors import DegenerateWeights
from aisle_smc.ssm.hmm import HiddenMarkovModel, forward, forward_backward, viterbi


def random_model(seed, states, n, zeros=0.0):
    rng = np.random.default_rng(seed)

    def distribution(*shape):
        p = rng.exponential(size=shape) * (rng.random(shape) >= zeros)
        p[..., 0] += p.sum(axis=-1) == 0
        return p / p.sum(axis=-1, keepdims=True)

    return HiddenMarkovModel(
        initial=distribution(states),
        transition=distribution(states, states),
        log_observation=3.0 * rng.normal(size=(n, states)),
    )


class AllPaths:
    """The obvious way: every path, its probability, and sums of them."""

    def __init__(self, model, log_g):
        initial, transition = np.asarray(model.initial), np.asarray(model.transition)
        n, s = np.shape(log_g)
        self.paths = np.array(list(itertools.product(range(s), repeat=n)))
        self.p = np.array(
            [
                initial[path[0]]
                * np.prod([transition[i, j] for i, j in itertools.pairwise(path)])
                * math.exp(sum(log_g[t][i] for t, i in enumerate(path)))
                for path in self.paths
            ]
        )
        self.evidence = self.p.sum()
        self.n, self.s = n, s

    def smoothed(self):
        return (
            np.array(
                [
                    [self.p[self.paths[:, t] == i].sum() for i in range(self.s)]
                    for t in range(self.n)
                ]
            )
            / self.evidence
        )

    def pairwise(self):
        out = np.zeros((self.n - 1, self.s, self.s))
        for t in range(self.n - 1):
            np.add.at(out[t], (self.paths[:, t], self.paths[:, t + 1]), self.p)
        return out / self.evidence


SEEDS = st.integers(0, 2**32 - 1)


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.integers(1, 3), st.integers(1, 5), st.sampled_from([0.0, 0.4]))
def test_equals_the_sum_over_all_paths(seed, states, n, zeros):
    model = random_model(seed, states, n, zeros)
    log_g = np.asarray(model.log_observation)
    found = forward_backward(model)
    truth = AllPaths(model, log_g)
    assert found.log_evidence == pytest.approx(math.log(truth.evidence), abs=1e-11)
    np.testing.assert_allclose(found.smoothed, truth.smoothed(), atol=1e-12)
    np.testing.assert_allclose(found.pairwise, truth.pairwise(), atol=1e-12)
    previous = 1.0
    for t in range(n):
        # The filter is the last row of the smoother of a shorter series.
        short = AllPaths(model, log_g[: t + 1])
        np.testing.assert_allclose(found.filtered[t], short.smoothed()[-1], atol=1e-12)
        ahead = AllPaths(model, np.vstack([log_g[:t], np.zeros((1, states))]))
        np.testing.assert_allclose(found.forward.predicted[t], ahead.smoothed()[-1], atol=1e-12)
        assert found.forward.log_evidence_increments[t] == pytest.approx(
            math.log(short.evidence / previous), abs=1e-11
        )
        previous = short.evidence
    best = viterbi(model)
    assert best.log_probability == pytest.approx(math.log(truth.p.max()), abs=1e-11)
    assert truth.p[(truth.paths == best.path).all(axis=1)][0] == pytest.approx(truth.p.max())


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(1, 6), st.integers(2, 40))
def test_identities(seed, states, n):
    found = forward_backward(random_model(seed, states, n, 0.3))
    for rows in (found.filtered, found.smoothed, found.forward.predicted):
        np.testing.assert_allclose(rows.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(found.pairwise.sum(axis=2), found.smoothed[:-1], atol=1e-12)
    np.testing.assert_allclose(found.pairwise.sum(axis=1), found.smoothed[1:], atol=1e-12)
    np.testing.assert_array_equal(found.smoothed[-1], found.filtered[-1])
    assert found.log_evidence == found.forward.log_evidence_increments.sum()


def test_negative_twin_the_transposed_transition_is_wrong():
    model = random_model(4, 3, 4)
    wrong = HiddenMarkovModel(
        initial=model.initial,
        transition=(m := np.asarray(model.transition).T) / m.sum(axis=1, keepdims=True),
        log_observation=model.log_observation,
    )
    truth = math.log(AllPaths(model, np.asarray(model.log_observation)).evidence)
    assert abs(forward(model).log_evidence - truth) < 1e-12
    assert abs(forward(wrong).log_evidence - truth) > 0.01


def gaussian(y):
    with np.errstate(invalid="ignore"):
        return -0.5 * (y[:, None] - np.array([-1.0, 0.0, 2.0])) ** 2


def two_forms(y):
    base = random_model(9, 3, 1)
    log_g = gaussian(np.asarray(y))
    log_g[np.isnan(y)] = 0.0
    return (
        HiddenMarkovModel(
            initial=base.initial, transition=base.transition, log_observation=gaussian
        ),
        HiddenMarkovModel(initial=base.initial, transition=base.transition, log_observation=log_g),
    )


def test_missing_observations_carry_nothing():
    y = np.array([0.3, np.nan, np.nan, 1.5, np.nan])
    called, given_array = two_forms(y)
    found = forward_backward(called, y)
    same = forward_backward(given_array)
    np.testing.assert_array_equal(found.smoothed, same.smoothed)
    assert found.log_evidence == same.log_evidence
    np.testing.assert_allclose(found.forward.log_evidence_increments[[1, 2, 4]], 0.0, atol=1e-15)
    np.testing.assert_allclose(found.filtered[1], found.filtered[0] @ called.transition)
    np.testing.assert_array_equal(viterbi(called, y).path, viterbi(given_array).path)


def test_partly_missing_rows_are_the_callables_business():
    y = np.array([[0.0, 1.0], [np.nan, 1.0], [np.nan, np.nan]])

    def log_observation(y):
        terms = -0.5 * (y[:, :, None] - np.array([0.0, 1.0])) ** 2
        return np.nansum(terms, axis=1)

    model = HiddenMarkovModel(
        initial=[0.5, 0.5], transition=np.full((2, 2), 0.5), log_observation=log_observation
    )
    increments = forward(model, y).log_evidence_increments
    assert increments[1] == pytest.approx(math.log(0.5 * math.exp(-0.5) + 0.5))
    assert increments[2] == pytest.approx(0.0, abs=1e-15)


def test_long_series_and_tiny_probabilities_do_not_underflow():
    n = 3000
    log_g = np.full((n, 2), -800.0)
    model = HiddenMarkovModel(
        initial=[1.0, 0.0], transition=[[1.0, 0.0], [0.5, 0.5]], log_observation=log_g
    )
    assert forward(model).log_evidence == pytest.approx(-800.0 * n, rel=1e-14)
    # The likely state is unreachable: the evidence is that of the unlikely one, not zero.
    log_g = np.column_stack([np.full(5, -10_000.0), np.zeros(5)])
    stuck = HiddenMarkovModel(
        initial=[1.0, 0.0], transition=[[1.0, 0.0], [0.5, 0.5]], log_observation=log_g
    )
    found = forward_backward(stuck)
    assert found.log_evidence == -50_000.0
    np.testing.assert_array_equal(found.smoothed, np.tile([1.0, 0.0], (5, 1)))


def test_impossible_observations():
    log_g = np.zeros((4, 2))
    log_g[2] = -np.inf
    model = HiddenMarkovModel(
        initial=[0.5, 0.5], transition=np.full((2, 2), 0.5), log_observation=log_g
    )
    found = forward(model)
    assert found.log_evidence == -np.inf
    np.testing.assert_array_equal(found.log_evidence_increments, [0, 0, -np.inf, 0])
    np.testing.assert_array_equal(found.filtered[2:], 0.0)
    assert not np.isnan(found.predicted).any()
    for function in (forward_backward, viterbi):
        with pytest.raises(DegenerateWeights, match="up to time 2") as error:
            function(model)
        assert error.value.t == 2


def test_the_best_path_is_not_the_path_of_best_states():
    model = HiddenMarkovModel(
        initial=[0.4, 0.3, 0.3],
        transition=[[0.1, 0.45, 0.45], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        log_observation=np.zeros((2, 3)),
    )
    best = viterbi(model)
    assert best.path.tolist() == [1, 1]
    assert best.log_probability == pytest.approx(math.log(0.3))
    assert forward_backward(model).smoothed.argmax(axis=1).tolist()[0] == 0


def test_one_state_one_observation():
    model = HiddenMarkovModel(initial=[1.0], transition=[[1.0]], log_observation=[[-2.5]])
    found = forward_backward(model)
    assert found.log_evidence == -2.5
    assert found.pairwise.shape == (0, 1, 1)
    assert viterbi(model).path.tolist() == [0]


def test_arguments_are_left_alone_and_values_pickle():
    y = np.array([0.3, np.nan, 1.5])
    before = y.copy()
    log_g = np.zeros((3, 3))

    def shared(y):
        return log_g

    called, given_array = two_forms(y)
    forward_backward(called, y)
    forward(
        HiddenMarkovModel(
            initial=called.initial, transition=called.transition, log_observation=shared
        ),
        y,
    )
    np.testing.assert_array_equal(y, before)
    np.testing.assert_array_equal(log_g, 0.0)
    copy = pickle.loads(pickle.dumps(given_array))
    assert forward(copy).log_evidence == forward(given_array).log_evidence


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"initial": [[0.5, 0.5]]}, r"initial must have shape \(S,\) .* came \(1, 2\)"),
        ({"initial": []}, r"came \(0,\)"),
        ({"initial": [0.5, 0.6]}, "initial must sum to one; came 1.1"),
        ({"initial": [-0.5, 1.5]}, "initial must hold probabilities; came -0.5"),
        ({"initial": [np.nan, 1.0]}, "initial must hold probabilities; came nan"),
        ({"transition": np.eye(3)}, r"transition must have shape \(2, 2\); came \(3, 3\)"),
        ({"transition": [[1, 0], [1, 1]]}, "in every row; came 2.0 in row 1"),
    ],
)
def test_bad_models(change, words):
    good = {"initial": [0.5, 0.5], "transition": np.eye(2), "log_observation": np.zeros((3, 2))}
    with pytest.raises(ValueError, match=words):
        HiddenMarkovModel(**(good | change))


@pytest.mark.parametrize(
    ("log_observation", "y", "words"),
    [
        (np.zeros((3, 3)), None, r"must give shape \(3, 2\).* came \(3, 3\)"),
        (np.zeros((0, 2)), None, r"must give shape \(1, 2\).* came \(0, 2\)"),
        (np.zeros(2), None, r"came \(2,\)"),
        (0.0, None, r"came \(\)"),
        (np.zeros((3, 2)), [1.0, 2.0, 3.0], "came y as well"),
        ([[0.0, np.nan]], None, "came nan at time 0 in state 1"),
        ([[0.0, 0.0], [np.inf, 0.0]], None, "came inf at time 1 in state 0"),
        (lambda y: np.zeros((3, 2)), None, "came none; pass y"),
        (lambda y: np.zeros((3, 2)), [], r"came \(0,\)"),
        (lambda y: np.zeros((3, 2)), [1.0, 2.0], r"must give shape \(2, 2\)"),
    ],
)
@pytest.mark.parametrize("function", [forward, forward_backward, viterbi])
def test_bad_observations(function, log_observation, y, words):
    model = HiddenMarkovModel(
        initial=[0.5, 0.5], transition=np.eye(2), log_observation=log_observation
    )
    with pytest.raises(ValueError, match=words):
        function(model, y)
