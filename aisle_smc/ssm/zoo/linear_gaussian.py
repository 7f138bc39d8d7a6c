"""Linear-Gaussian models: states of any dimension, matrices as parameters."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from aisle_kernels.linalg import matvec
from numba import njit

from aisle_smc.arrays import Floats
from aisle_smc.ssm.linear_gaussian import LinearGaussianSystem
from aisle_smc.ssm.math import log, mvn_logpdf
from aisle_smc.ssm.model import StateSpaceModel


class LinearGaussianParams(NamedTuple):
    """Parameters of :func:`LinearGaussian`; :meth:`of` computes them from a system.

    A factor is a lower Cholesky factor of a covariance.  The gains turn what an observation
    differs from its expectation into a change of the state's mean, the conditional factors belong
    to the state given its observation, the predictive factor to an observation given the state
    before.
    """

    transition_matrix: Floats
    transition_intercept: Floats
    transition_factor: Floats
    observation_matrix: Floats
    observation_intercept: Floats
    observation_covariance: Floats
    observation_factor: Floats
    initial_mean: Floats
    initial_factor: Floats
    initial_gain: Floats
    initial_conditional_factor: Floats
    gain: Floats
    conditional_factor: Floats
    predictive_factor: Floats

    @classmethod
    def of(cls, system: LinearGaussianSystem) -> Self:
        """Return the parameters of a system that does not change in time.

        Raises
        ------
        ValueError
            If one of its matrices varies in time.
        """
        f, q, h, r, m0, p0, b, c = system.arrays
        if any(a.ndim > rank for a, rank in ((f, 2), (q, 2), (h, 2), (r, 2), (b, 1), (c, 1))):
            raise ValueError(
                "LinearGaussian needs matrices that do not vary in time; got one with a time "
                "axis; write a StateSpaceModel that picks its row with the covariates u"
            )
        initial_gain, initial_conditional = _update(p0, h, r)
        gain, conditional = _update(q, h, r)
        return cls(
            transition_matrix=f,
            transition_intercept=b,
            transition_factor=_lower(q),
            observation_matrix=h,
            observation_intercept=c,
            observation_covariance=r,
            observation_factor=_lower(r),
            initial_mean=m0,
            initial_factor=_lower(p0),
            initial_gain=initial_gain,
            initial_conditional_factor=_lower(initial_conditional),
            gain=gain,
            conditional_factor=_lower(conditional),
            predictive_factor=_lower(h @ q @ h.T + r),
        )


def _update(covariance: Floats, h: Floats, r: Floats) -> tuple[Floats, Floats]:
    """Return the gain of an observation and the covariance it leaves."""
    gain = np.linalg.solve(h @ covariance @ h.T + r, h @ covariance).T
    kept = np.eye(covariance.shape[0]) - gain @ h
    return gain, kept @ covariance @ kept.T + gain @ r @ gain.T


def _lower(covariance: Floats) -> Floats:
    """Return a lower factor of a covariance that need not be of full rank."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    upper = np.linalg.qr(root.T, mode="r")
    return np.ascontiguousarray(upper.T * np.where(np.diag(upper) < 0.0, -1.0, 1.0))


@njit
def draw(rng, factor, out):
    """Add a normal draw with this covariance factor."""
    for j in range(out.shape[0]):
        z = rng.standard_normal()
        for i in range(j, out.shape[0]):
            out[i] += factor[i, j] * z


@njit
def predict(x, p, out):
    """Write the expected next state."""
    matvec(p.transition_matrix, x, out)
    out += p.transition_intercept


@njit
def expect(x, p):
    """Return the expected observation."""
    mean = np.empty(p.observation_intercept.shape[0])
    matvec(p.observation_matrix, x, mean)
    return mean + p.observation_intercept


@njit
def learn(y, gain, p, mean):
    """Replace the expected state by that given its observation."""
    change = np.empty(mean.shape[0])
    matvec(gain, y - expect(mean, p), change)
    mean += change


@njit
def partial_logpdf(y, mean, covariance):
    """Return the log-density of those components of ``y`` that are not NaN."""
    k = y.shape[0]
    factor = np.zeros((k, k))
    z = np.zeros(k)
    total = 0.0
    for i in range(k):
        if not np.isnan(y[i]):
            rest = y[i] - mean[i]
            for j in range(i):
                if not np.isnan(y[j]):
                    entry = covariance[i, j]
                    for l in range(j):
                        entry -= factor[i, l] * factor[j, l]
                    factor[i, j] = entry / factor[j, j]
                    rest -= factor[i, j] * z[j]
            variance = covariance[i, i] - np.sum(factor[i, :i] ** 2)
            factor[i, i] = np.sqrt(variance)
            z[i] = rest / factor[i, i]
            total -= 0.5 * (z[i] ** 2 + log(2.0 * np.pi * variance))
    return total


def initial(rng, p, out):
    """Draw the first state."""
    out[:] = p.initial_mean
    draw(rng, p.initial_factor, out)


def log_initial(x, p):
    """Return the log-density of the first state."""
    return mvn_logpdf(x, p.initial_mean, p.initial_factor)


def transition(rng, x, p, out):
    """Draw the next state."""
    predict(x, p, out)
    draw(rng, p.transition_factor, out)


def log_transition(x, x_prev, p):
    """Return the log-density of a move."""
    mean = np.empty(x.shape[0])
    predict(x_prev, p, mean)
    return mvn_logpdf(x, mean, p.transition_factor)


def log_observation(y, x, p):
    """Return the log-density of the components observed."""
    if np.isnan(y).any():
        return partial_logpdf(y, expect(x, p), p.observation_covariance)
    return mvn_logpdf(y, expect(x, p), p.observation_factor)


def observe(rng, x, p, out):
    """Draw an observation."""
    out[:] = expect(x, p)
    draw(rng, p.observation_factor, out)


def initial_proposal(rng, y, p, out):
    """Draw the first state given its observation, unless part of it is missing."""
    out[:] = p.initial_mean
    if np.isnan(y).any():
        draw(rng, p.initial_factor, out)
    else:
        learn(y, p.initial_gain, p, out)
        draw(rng, p.initial_conditional_factor, out)


def log_initial_proposal(x, y, p):
    """Return the log-density of ``initial_proposal``."""
    if np.isnan(y).any():
        return mvn_logpdf(x, p.initial_mean, p.initial_factor)
    mean = p.initial_mean.copy()
    learn(y, p.initial_gain, p, mean)
    return mvn_logpdf(x, mean, p.initial_conditional_factor)


def proposal(rng, x, y, p, out):
    """Draw the next state given its observation, unless part of it is missing."""
    predict(x, p, out)
    if np.isnan(y).any():
        draw(rng, p.transition_factor, out)
    else:
        learn(y, p.gain, p, out)
        draw(rng, p.conditional_factor, out)


def log_proposal(x, x_prev, y, p):
    """Return the log-density of ``proposal``."""
    mean = np.empty(x.shape[0])
    predict(x_prev, p, mean)
    if np.isnan(y).any():
        return mvn_logpdf(x, mean, p.transition_factor)
    learn(y, p.gain, p, mean)
    return mvn_logpdf(x, mean, p.conditional_factor)


def log_lookahead(y, x, p):
    """Return the log-density of the next observation given today's state, if it is complete."""
    if np.isnan(y).any():
        return 0.0
    mean = np.empty(x.shape[0])
    predict(x, p, mean)
    return mvn_logpdf(y, expect(mean, p), p.predictive_factor)


def LinearGaussian(d: int, k: int) -> StateSpaceModel:
    r"""Return the linear-Gaussian model of `d` states and `k` observed components.

    .. math::
        x_0 \sim N(m_0, P_0), \qquad x_t = b + F x_{t-1} + N(0, Q), \qquad
        y_t = c + H x_t + N(0, R)

    Parameters
    ----------
    d : int
        Length of the state.
    k : int
        Length of an observation.

    Returns
    -------
    StateSpaceModel
        With the optimal proposal and the exact look-ahead; both look away where an observation is
        partly missing.  Its parameters are matrices and have no prior.

    Notes
    -----
    A covariance Q without full rank is fine for the bootstrap filter; the guided filter needs the
    density of a transition and so an invertible Q, and R.

    Examples
    --------
    >>> from aisle_smc.ssm.kalman import LinearGaussianSystem, log_likelihood
    >>> from aisle_smc.ssm.evidence import log_evidence
    >>> system = LinearGaussianSystem(
    ...     transition_matrix=[[1, 1], [0, 1]], transition_covariance=[[0.1, 0], [0, 0.1]],
    ...     observation_matrix=[[1, 0]], observation_covariance=1,
    ...     initial_mean=[0, 0], initial_covariance=[[1, 0], [0, 1]],
    ... )
    >>> model, params = LinearGaussian(2, 1), LinearGaussianParams.of(system)
    >>> y = [[0.5], [1.5], [2.0]]
    >>> abs(log_evidence(model, params, y, n=20_000) - log_likelihood(system, y)) < 0.05
    True
    """
    return StateSpaceModel(
        params=LinearGaussianParams,
        state=d,
        observation=k,
        initial=initial,
        log_initial=log_initial,
        transition=transition,
        log_transition=log_transition,
        log_observation=log_observation,
        observe=observe,
        initial_proposal=initial_proposal,
        log_initial_proposal=log_initial_proposal,
        proposal=proposal,
        log_proposal=log_proposal,
        log_lookahead=log_lookahead,
        name="linear-Gaussian",
    )
