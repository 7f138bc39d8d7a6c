"""Linear-Gaussian models: states of any dimension, matrices as parameters."""

from __future__ import annotations

from math import isnan, log, pi, sqrt
from typing import NamedTuple, Self

import numpy as np
from aisle_kernels.linalg import matvec, solve_lower
from numba import njit

from aisle_smc.arrays import Floats
from aisle_smc.ssm.linear_gaussian import LinearGaussianSystem
from aisle_smc.ssm.model import StateSpaceModel

LOG_TWO_PI = log(2.0 * pi)


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
    gain = np.asarray(np.linalg.solve(h @ covariance @ h.T + r, h @ covariance)).T
    kept = np.eye(covariance.shape[0]) - gain @ h
    return np.ascontiguousarray(gain), kept @ covariance @ kept.T + gain @ r @ gain.T


def _lower(covariance: Floats) -> Floats:
    """Return a lower factor of a covariance that need not be of full rank."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    upper = np.asarray(np.linalg.qr(root.T, mode="r"))
    return np.ascontiguousarray(upper.T * np.where(np.diag(upper) < 0.0, -1.0, 1.0))


@njit
def affine(matrix, x, intercept, out):
    """Write the matrix times x plus the intercept."""
    matvec(matrix, x, out)
    for i in range(out.shape[0]):
        out[i] += intercept[i]


@njit
def disturb(z, factor, out):
    """Add standard normal noise times a covariance factor."""
    for i in range(out.shape[0]):
        for j in range(i + 1):
            out[i] += factor[i, j] * z[j]


@njit
def complete(y):
    """Return whether no component is missing."""
    missing = 0
    for component in y:
        missing += isnan(component)
    return missing == 0


@njit
def learn(y, observation_matrix, observation_intercept, gain, mean):
    """Replace the expected state by that given its observation."""
    surprise = np.empty(y.shape[0])
    affine(observation_matrix, mean, observation_intercept, surprise)
    for k in range(y.shape[0]):
        surprise[k] = y[k] - surprise[k]
    for i in range(mean.shape[0]):
        for k in range(y.shape[0]):
            mean[i] += gain[i, k] * surprise[k]


@njit
def log_density(x, mean, factor):
    """Return the log-density of a normal row with this covariance factor."""
    z = np.empty(x.shape[0])
    for i in range(x.shape[0]):
        z[i] = x[i] - mean[i]
    solve_lower(factor, z, z)
    total = -0.5 * LOG_TWO_PI * x.shape[0]
    for i in range(x.shape[0]):
        total -= 0.5 * z[i] ** 2 + log(factor[i, i])
    return total


@njit
def log_density_seen(y, mean, covariance):
    """Return the log-density of the components that are not missing."""
    k = y.shape[0]
    factor, z = np.zeros((k, k)), np.zeros(k)
    total = 0.0
    for i in range(k):
        if isnan(y[i]):
            continue
        variance, z[i] = covariance[i, i], y[i] - mean[i]
        for j in range(i):
            if isnan(y[j]):
                continue
            entry = covariance[i, j]
            for l in range(j):
                entry -= factor[i, l] * factor[j, l]
            factor[i, j] = entry / factor[j, j]
            variance -= factor[i, j] ** 2
            z[i] -= factor[i, j] * z[j]
        factor[i, i] = sqrt(variance)
        z[i] /= factor[i, i]
        total -= 0.5 * (z[i] ** 2 + log(variance) + LOG_TWO_PI)
    return total


def initial(z, p, out):
    """Draw the first state."""
    out[:] = p.initial_mean
    disturb(z, p.initial_factor, out)


def log_initial(x, p):
    """Return the log-density of the first state."""
    return log_density(x, p.initial_mean, p.initial_factor)


def transition(z, x, p, out):
    """Draw the next state."""
    affine(p.transition_matrix, x, p.transition_intercept, out)
    disturb(z, p.transition_factor, out)


def log_transition(x, x_prev, p):
    """Return the log-density of a move."""
    mean = np.empty(x.shape[0])
    affine(p.transition_matrix, x_prev, p.transition_intercept, mean)
    return log_density(x, mean, p.transition_factor)


def log_observation(y, x, p):
    """Return the log-density of the components observed."""
    mean = np.empty(y.shape[0])
    affine(p.observation_matrix, x, p.observation_intercept, mean)
    if complete(y):
        return log_density(y, mean, p.observation_factor)
    return log_density_seen(y, mean, p.observation_covariance)


def observe(rng, x, p, out):
    """Draw an observation."""
    affine(p.observation_matrix, x, p.observation_intercept, out)
    disturb(rng.standard_normal(out.shape[0]), p.observation_factor, out)


def initial_proposal(z, y, p, out):
    """Draw the first state given its observation, unless part of that is missing."""
    out[:] = p.initial_mean
    if complete(y):
        learn(y, p.observation_matrix, p.observation_intercept, p.initial_gain, out)
        disturb(z, p.initial_conditional_factor, out)
    else:
        disturb(z, p.initial_factor, out)


def log_initial_proposal(x, y, p):
    """Return the log-density of ``initial_proposal``."""
    mean = p.initial_mean.copy()
    if complete(y):
        learn(y, p.observation_matrix, p.observation_intercept, p.initial_gain, mean)
        return log_density(x, mean, p.initial_conditional_factor)
    return log_density(x, mean, p.initial_factor)


def proposal(z, x, y, p, out):
    """Draw the next state given its observation, unless part of that is missing."""
    affine(p.transition_matrix, x, p.transition_intercept, out)
    if complete(y):
        learn(y, p.observation_matrix, p.observation_intercept, p.gain, out)
        disturb(z, p.conditional_factor, out)
    else:
        disturb(z, p.transition_factor, out)


def log_proposal(x, x_prev, y, p):
    """Return the log-density of ``proposal``."""
    mean = np.empty(x.shape[0])
    affine(p.transition_matrix, x_prev, p.transition_intercept, mean)
    if complete(y):
        learn(y, p.observation_matrix, p.observation_intercept, p.gain, mean)
        return log_density(x, mean, p.conditional_factor)
    return log_density(x, mean, p.transition_factor)


def log_lookahead(y, x, p):
    """Return the log-density of the next observation given today's state, if it is complete."""
    if not complete(y):
        return 0.0
    predicted, mean = np.empty(x.shape[0]), np.empty(y.shape[0])
    affine(p.transition_matrix, x, p.transition_intercept, predicted)
    affine(p.observation_matrix, predicted, p.observation_intercept, mean)
    return log_density(y, mean, p.predictive_factor)


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
