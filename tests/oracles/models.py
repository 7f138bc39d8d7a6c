"""Three small models and a particle filter that calls their functions one particle at a time.

NumPy, Numba and the kernels only: what is under test is the loop around a model.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache
from math import isnan
from typing import NamedTuple

import numpy as np
from aisle_kernels.densities import normal_logpdf
from aisle_kernels.noise import normals
from aisle_kernels.vecmath import exp, log
from aisle_kernels.weights import exponentiate
from numba import njit

# --- a number for a state, a covariate, an answer to the last observation ----------------------


class DriftParams(NamedTuple):
    persistence: float
    drift: float
    sd: float
    noise_sd: float


@njit
def drifted(x, y_prev, u, p):
    answer = 0.0 if isnan(y_prev) else 0.1 * y_prev
    return p.persistence * x + p.drift * u + answer


def drift_initial(z, p):
    return 0.5 + 2.0 * p.sd * z


def drift_log_initial(x, p):
    return normal_logpdf(x, 0.5, 2.0 * p.sd)


def drift_transition(z, x, y_prev, u, p):
    return drifted(x, y_prev, u, p) + p.sd * z


def drift_log_transition(x, x_prev, y_prev, u, p):
    return normal_logpdf(x, drifted(x_prev, y_prev, u, p), p.sd)


def drift_log_observation(y, x, p):
    return normal_logpdf(y, x, p.noise_sd * exp(0.1 * x))


def drift_initial_proposal(z, y, p):
    return 0.25 + 0.5 * y + 2.0 * p.sd * z


def drift_log_initial_proposal(x, y, p):
    return normal_logpdf(x, 0.25 + 0.5 * y, 2.0 * p.sd)


def drift_proposal(rng, x, y, y_prev, u, p):
    return 0.7 * drifted(x, y_prev, u, p) + 0.3 * y + 1.2 * p.sd * rng.standard_normal()


def drift_log_proposal(x, x_prev, y, y_prev, u, p):
    return normal_logpdf(x, 0.7 * drifted(x_prev, y_prev, u, p) + 0.3 * y, 1.2 * p.sd)


def drift_log_lookahead(y, x, y_prev, u, p):
    return normal_logpdf(y, drifted(x, y_prev, u, p), 2.0 * (p.sd + p.noise_sd))


def drift_observe(rng, x, p):
    return x + p.noise_sd * exp(0.1 * x) * rng.standard_normal()


# --- named components, observations of which one may be missing, a look at the state before ----


class GrowthParams(NamedTuple):
    sd: float
    noise_sd: float


class Growth(NamedTuple):
    level: float
    slope: float


class Seen(NamedTuple):
    level: float
    step: float


class Weather(NamedTuple):
    sun: float
    rain: float


def growth_initial(rng, p):
    return Growth(1.0 + rng.standard_normal(), 0.2 * rng.standard_normal())


def growth_log_initial(x, p):
    return normal_logpdf(x.level, 1.0, 1.0) + normal_logpdf(x.slope, 0.0, 0.2)


def growth_transition(rng, x, u, p):
    slope = 0.9 * x.slope + p.sd * rng.standard_normal()
    return Growth(x.level + slope + 0.3 * u.sun - 0.2 * u.rain, slope)


def growth_log_observation(y, x, x_prev, t, p):
    step = x.level - x_prev.level if t > 0 else x.slope
    return normal_logpdf(y.level, x.level, p.noise_sd), normal_logpdf(y.step, step, p.noise_sd)


def growth_log_lookahead(y, x, u, p):
    guess = x.level + 0.9 * x.slope + 0.3 * u.sun - 0.2 * u.rain
    return 0.0 if isnan(y.level) else normal_logpdf(y.level, guess, 2.0 * p.noise_sd)


def growth_observe(rng, x, x_prev, p):
    level = x.level + p.noise_sd * rng.standard_normal()
    return Seen(level, x.level - x_prev.level + p.noise_sd * rng.standard_normal())


# --- rows, noise for every component, an array among the parameters ----------------------------


class RingParams(NamedTuple):
    coupling: np.ndarray
    sd: float
    noise_sd: float


def ring_initial(z, p, out):
    for k in range(out.shape[0]):
        out[k] = 0.3 * k + z[k]


def ring_log_initial(x, p):
    total = 0.0
    for k in range(x.shape[0]):
        total += normal_logpdf(x[k], 0.3 * k, 1.0)
    return total


def ring_transition(z, x, p, out):
    for k in range(out.shape[0]):
        out[k] = p.coupling[k] * x[k] + 0.2 * x[k - 1] + p.sd * z[k]


def ring_log_transition(x, x_prev, p):
    total = 0.0
    for k in range(x.shape[0]):
        total += normal_logpdf(x[k], p.coupling[k] * x_prev[k] + 0.2 * x_prev[k - 1], p.sd)
    return total


def ring_log_observation(y, x, p):
    return normal_logpdf(y[0], x[0], p.noise_sd), normal_logpdf(y[1], x[1] + x[2], p.noise_sd)


def ring_proposal(z, x, y, p, out):
    for k in range(out.shape[0]):
        out[k] = p.coupling[k] * x[k] + 0.2 * x[k - 1] + p.sd * z[k]
    if not isnan(y[0]):
        out[0] += 0.3 * (y[0] - p.coupling[0] * x[0] - 0.2 * x[-1])


def ring_log_proposal(x, x_prev, y, p):
    total = 0.0
    for k in range(x.shape[0]):
        mean = p.coupling[k] * x_prev[k] + 0.2 * x_prev[k - 1]
        if k == 0 and not isnan(y[0]):
            mean += 0.3 * (y[0] - mean)
        total += normal_logpdf(x[k], mean, p.sd)
    return total


def ring_log_lookahead(y, x, p):
    guess = p.coupling[0] * x[0] + 0.2 * x[-1]
    return 0.0 if isnan(y[0]) else normal_logpdf(y[0], guess, 2.0 * p.noise_sd)


def ring_observe(rng, x, p, out):
    out[0] = x[0] + p.noise_sd * rng.standard_normal()
    out[1] = x[1] + x[2] + p.noise_sd * rng.standard_normal()


# --- a model's functions, called in a plain loop -----------------------------------------------


ROLES = (
    "initial",
    "transition",
    "log_observation",
    "log_initial",
    "log_transition",
    "initial_proposal",
    "log_initial_proposal",
    "proposal",
    "log_proposal",
    "log_lookahead",
    "observe",
)


def _roles(prefix):
    found = {role: globals().get(f"{prefix}_{role}") for role in ROLES}
    return {role: function for role, function in found.items() if function is not None}


@cache
def _argument_names(function):
    return tuple(inspect.signature(function).parameters)


@dataclass(frozen=True, kw_only=True)
class Plain:
    """A model by its plain functions; a form is None for a number, a class or a row's length."""

    functions: dict
    state: object = None
    observation: object = None
    covariates: object = None

    def names(self, role):
        return _argument_names(self.functions[role])

    def call(self, role, **given):
        forms = {
            "x": self.state,
            "x_prev": self.state,
            "z": self.state,
            "y": self.observation,
            "y_prev": self.observation,
            "u": self.covariates,
        }

        def wrapped(name):
            value, form = given[name], forms.get(name)
            return form(*value) if isinstance(form, type) else value

        return self.functions[role](*(wrapped(name) for name in self.names(role)))

    def shape(self, n):
        width = (
            self.state if isinstance(self.state, int) else len(getattr(self.state, "_fields", ()))
        )
        return (n, width) if width else (n,)

    def draw(self, role, rng, x, rows, **given):
        """Draw all particles; each sees the shared values and its own entries of `rows`."""
        z = np.zeros_like(x)
        if "z" in self.names(role):
            normals(rng, z, 0, x.shape[0])
        for i in range(x.shape[0]):
            own = {name: values[i] for name, values in rows.items()}
            new = self.call(role, rng=rng, z=z[i], out=x[i], **own, **given)
            if not isinstance(self.state, int):
                x[i] = new

    def weigh(self, x, rows, **given):
        """Return the log-observation densities of all particles."""
        y = np.atleast_1d(given["y"])
        log_g = np.zeros(x.shape[0])
        if np.isnan(y).all():
            return log_g
        for i in range(x.shape[0]):
            own = {name: values[i] for name, values in rows.items()}
            value = self.call("log_observation", x=x[i], **own, **given)
            if isinstance(value, tuple):
                total = 0.0
                for part, component in zip(value, y, strict=True):
                    total = total if isnan(component) else total + part
                value = total
            log_g[i] = value
        return log_g

    def moment(self, t, p, ys, us):
        y_prev = ys[t - 1] if t > 0 else ys[0] * np.nan
        return {"t": t, "p": p, "y": ys[t], "y_prev": y_prev, "u": us[t]}

    def start(self, rng, p, ys, us, n, guided=False):
        given = self.moment(0, p, ys, us)
        looks = guided and "initial_proposal" in self.functions and not np.isnan(ys[0]).all()
        x = np.empty(self.shape(n))
        self.draw("initial_proposal" if looks else "initial", rng, x, {}, **given)
        log_g = self.weigh(x, {"x_prev": x}, **given)
        if looks:
            for i in range(n):
                log_g[i] += self.call("log_initial", x=x[i], **given)
                log_g[i] -= self.call("log_initial_proposal", x=x[i], **given)
        return x, log_g

    def move(self, rng, t, p, ys, us, x_prev, ancestors, guided=False):
        given = self.moment(t, p, ys, us)
        looks = guided and not np.isnan(ys[t]).all()
        before = x_prev[ancestors]
        x = np.empty_like(before)
        rows = {"x": before, "x_prev": before}
        self.draw("proposal" if looks else "transition", rng, x, rows, **given)
        log_g = self.weigh(x, {"x_prev": before}, **given)
        if looks:
            for i in range(x.shape[0]):
                log_g[i] += self.call("log_transition", x=x[i], x_prev=before[i], **given)
                log_g[i] -= self.call("log_proposal", x=x[i], x_prev=before[i], **given)
        return x, log_g

    def look_ahead(self, t, p, ys, us, x):
        given = self.moment(t, p, ys, us)
        if np.isnan(ys[t]).all():
            return np.zeros(x.shape[0])
        return np.array([self.call("log_lookahead", x=row, **given) for row in x])

    def log_transition(self, t, p, ys, us, x_prev, x):
        given = self.moment(t, p, ys, us)
        return np.array(
            [[self.call("log_transition", x=a, x_prev=b, **given) for b in x_prev] for a in x]
        )

    def observe(self, rng, t, p, y_prev, us, x, x_prev):
        y = np.empty_like(y_prev)
        for i in range(x.shape[0]):
            given = {
                "x": x[i],
                "x_prev": x_prev[i],
                "y_prev": y_prev[i],
                "t": t,
                "p": p,
                "u": us[t],
            }
            new = self.call("observe", rng=rng, out=y[i], **given)
            if new is not None:
                y[i] = new
        return y


@dataclass(frozen=True, kw_only=True)
class Trace:
    log_evidence: np.ndarray  # (T,), of observations 0 to t
    ess: np.ndarray  # (T,)
    states: np.ndarray  # (T, n, ...)
    ancestors: np.ndarray  # (T, n)


DEFECTS = ("first weight twice", "look-ahead kept")


def filter_one_by_one(
    model,
    p,
    ys,
    us,
    n,
    rng,
    resample,
    uniforms,
    *,
    threshold=0.5,
    guided=False,
    auxiliary=False,
    defect="",
):
    """Run a particle filter in plain Python, or one with a defect of those known of peers.

    ``resample(w, u, ancestors)`` takes ``uniforms(n, n)`` uniforms.
    """
    length = len(ys)
    log_evidence, ess = np.empty(length), np.empty(length)
    states, parents = np.empty((length, *model.shape(n))), np.empty((length, n), dtype=np.int64)
    log_z, w = 0.0, np.empty(n)
    for t in range(length):
        ancestors = np.arange(n)
        if t == 0:
            x, log_w = model.start(rng, p, ys, us, n, guided)
            if defect == "first weight twice":
                log_w = 2.0 * log_w
        else:
            log_eta = model.look_ahead(t, p, ys, us, x) if auxiliary else np.zeros(n)
            m, s, q = exponentiate(log_w + log_eta, w)
            if s * s / q < threshold * n:
                log_z += m + log(s / n)
                resample(w, np.array([rng.random() for _ in range(uniforms(n, n))]), ancestors)
                log_w = 0.0 - log_eta[ancestors]
                if defect == "look-ahead kept":
                    log_w = np.zeros(n)
            x, log_g = model.move(rng, t, p, ys, us, x, ancestors, guided)
            log_w = log_w + log_g
        m, s, q = exponentiate(log_w, w)
        log_evidence[t] = log_z + (m + log(s / n))
        ess[t] = s * s / q
        states[t], parents[t] = x, ancestors
    return Trace(log_evidence=log_evidence, ess=ess, states=states, ancestors=parents)


def forgetful_residual(w, u, ancestors):
    """Residual resampling with a known defect: what is left over forgets the factor n."""
    n = ancestors.size
    W = w / w.sum()
    whole = np.floor(n * W).astype(int)
    fixed = np.repeat(np.arange(w.size), whole)
    left = np.maximum(W - whole, 0.0)
    rest = n - fixed.size
    if rest and left.sum() > 0.0:
        drawn = np.searchsorted(np.cumsum(left) / left.sum(), u[:rest], side="right")
        fixed = np.concatenate([fixed, np.minimum(drawn, w.size - 1)])
    ancestors[:] = np.resize(fixed, n)


DRIFT = Plain(functions=_roles("drift"))
GROWTH = Plain(functions=_roles("growth"), state=Growth, observation=Seen, covariates=Weather)
RING = Plain(functions=_roles("ring"), state=3, observation=2)

DRIFT_PARAMS = DriftParams(0.8, 0.5, 0.6, 0.9)
GROWTH_PARAMS = GrowthParams(0.4, 0.7)
RING_PARAMS = RingParams(np.array([0.5, 0.7, 0.9]), 0.5, 0.8)

_NAN = np.nan
DRIFT_DATA = (
    np.array([0.3, 1.9, _NAN, -1.2, 2.4, 0.1, 1.0]),
    np.array([0.2, 0.4, 0.6, -0.5, 1.1, 0.3, 0.0]),
)
GROWTH_DATA = (
    np.array(
        [[1.2, 0.3], [_NAN, 0.4], [2.0, _NAN], [_NAN, _NAN], [3.1, 0.9], [4.5, 0.2], [4.1, -0.6]]
    ),
    np.array([[0.1, 0.0], [0.5, 0.2], [0.3, 0.9], [0.0, 0.0], [1.0, 0.1], [0.2, 0.2], [0.4, 0.6]]),
)
RING_DATA = (
    np.array(
        [[_NAN, _NAN], [0.4, 1.3], [1.1, _NAN], [_NAN, 0.2], [-0.8, 2.0], [0.3, 0.7], [0.9, 1.0]]
    ),
    np.zeros(7),
)
