"""What a careful colleague would check in a model before trusting a fit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from aisle_smc.arguments import check_count
from aisle_smc.arrays import Floats
from aisle_smc.priors import Prior
from aisle_smc.ssm.agreement import LEAST_P, agreement, uniformity
from aisle_smc.ssm.calibration import calibrate
from aisle_smc.ssm.description import Model
from aisle_smc.ssm.evidence import EvidenceFilter
from aisle_smc.ssm.findings import Finding, Findings
from aisle_smc.ssm.places import PAIRS, places
from aisle_smc.ssm.replicates import MISTAKES, Subject, replicates
from aisle_smc.ssm.simulate import simulate
from aisle_smc.streams import stream

__all__ = ["Finding", "Findings", "check_model"]


def check_model(
    model: Model,
    y: Any = None,
    params: Any = None,
    *,
    u: Any = None,
    n: int = 500,
    seed: int = 0,
    calibration: int = 0,
) -> Findings:
    """Check a model: its functions, their agreement, and how hard it is to filter.

    Parameters
    ----------
    model : StateSpaceModel, VectorModel or PythonModel
        The model.
    y : array_like, shape (T,) or (T, k), optional
        The data it is meant for; a series simulated from the model by default.
    params : NamedTuple, mapping or sequence, optional
        Parameters to check at; by default the best of a few draws of the prior.
    u : array_like, optional
        Covariates, one row for each time.
    n : int
        Number of particles.
    seed : int
        The same seed gives the same findings.
    calibration : int
        Number of series for simulation-based calibration, about 100; 0 for none.

    Returns
    -------
    Findings
        Prints in words; ``.ok`` is False if there is a problem.

    Raises
    ------
    ValueError, TypeError
        For bad arguments.  What is wrong with the model is a finding, not an exception.

    Notes
    -----
    A density is compared with the draws it should describe (``log_transition`` with
    ``transition``, ``log_observation`` with ``observe``, and so on) at a few states; see
    :mod:`aisle_smc.ssm.agreement`.  Thresholds are such that a right model is accused about once
    in a hundred thousand checks.  The cost is that of about 45 filters with `n` particles for
    each kind of filter the model allows, 15 if the model is not compiled.
    """
    check_count("n", n)
    if not isinstance(calibration, int) or calibration < 0:
        raise ValueError(f"calibration must be a number of series, 0 for none; got {calibration}")
    if params is None and not isinstance(model.prior, Prior):
        raise ValueError("check_model needs params, or a model with a prior to draw them from")
    if y is None and model.observe is None:  # type: ignore[attr-defined]
        raise ValueError("check_model needs y, or a model with observe to simulate it")
    return Findings(tuple(_findings(model, y, params, u, n, seed, calibration)))


def _findings(
    model: Any, y: Any, params: Any, u: Any, n: int, seed: int, calibration: int
) -> Iterator[Finding]:
    functions = model.functions()
    given, chosen = _parameters(model, y, params, u, n, seed)
    if given is not None:
        yield given
    if chosen is None:
        return
    made_up = y is None
    try:
        if made_up:
            y = simulate(model, chosen, None if u is not None else 60, u=u, seed=seed).observations
    except MISTAKES as error:
        yield Finding("problem", f"a series cannot be simulated:\n{error}")
        return
    series = model.observations(y)
    rows = model.covariate_rows(u, series.shape[0])
    subject = Subject(model, chosen, series, None if model.covariates is None else rows, n, seed)
    said = "compile" if subject.fast else "can be called"
    try:
        run = subject.filter()
        log_z = run(subject.p, stream(seed, 1))
    except MISTAKES as error:
        yield Finding("problem", f"the filter fails on the data:\n{error}")
        return
    yield Finding("ok", f"the functions {said}: {', '.join(functions)}")
    if not made_up:
        yield from _on_simulated_data(subject)
    path = None
    if log_z > -math.inf:
        path = run.path(stream(seed, 2))
    yield from _on_the_data(subject, run, log_z)
    for density, draw in PAIRS.items():
        yield from _agreement(subject, density, draw, path)
    if log_z > -math.inf:
        yield from replicates(subject)
    if calibration:
        yield _calibration(subject, calibration)


def _words(p: Any) -> str:
    return ", ".join(
        f"{k}={v:.4g}" if np.ndim(v) == 0 else f"{k}={v}" for k, v in p._asdict().items()
    )


def _parameters(
    model: Any, y: Any, params: Any, u: Any, n: int, seed: int
) -> tuple[Finding | None, Any]:
    """Return the parameters to check at, and how they were chosen."""
    if params is not None:
        return None, model.parameters(params)
    prior = model.prior
    rows = prior.with_constants(prior.sample(stream(seed, 3), 20))
    draws = [model.parameters(dict(zip(prior.names, row, strict=True))) for row in rows]
    if y is None:
        return Finding("ok", f"parameters: a draw of the prior, {_words(draws[0])}"), draws[0]
    found = np.full(len(draws), -math.inf)
    try:
        run = EvidenceFilter(model, y, max(n // 5, 20), u=u)
        for i, p in enumerate(draws):
            found[i] = run(p, stream(seed, 4, i))
    except MISTAKES as error:
        return Finding("problem", f"at a draw of the prior the filter fails:\n{error}"), None
    best = draws[int(np.argmax(found))]
    alive = found > -math.inf
    text = (
        f"parameters: the best of {len(draws)} draws of the prior, {_words(best)}; at "
        f"{alive.sum()} of them the evidence is positive"
    )
    if not alive.any():
        advice = "the prior and the data do not meet: check units, and simulate from the prior"
        return Finding("problem", text, advice), best
    return Finding("ok", text), best


def _on_simulated_data(subject: Subject) -> Iterator[Finding]:
    model = subject.model
    if model.observe is None:
        yield Finding("cannot tell", "whether densities are finite on simulated data",
                      "give the model observe, which draws y given x")  # fmt: skip
        return
    length = min(subject.y.shape[0], 200)
    u = None if subject.u is None else subject.u[:length]
    try:
        y = simulate(model, subject.p, length, u=u, seed=subject.seed).observations
        run = EvidenceFilter(model, y, subject.n, u=u)
        log_z = run(subject.p, stream(subject.seed, 5))
    except MISTAKES as error:
        yield Finding("problem", f"on simulated data the filter fails:\n{error}")
        return
    if log_z > -math.inf:
        yield Finding("ok", f"densities are finite on a simulated series of {length} times")
    else:
        t = int(np.argmax(np.isneginf(run.log_evidences)))
        yield Finding(
            "problem",
            f"on simulated data all weights are zero at t = {t}, where y = {y[t]}",
            "log_observation and observe disagree, or n is too small for a sharp density",
        )


def _on_the_data(subject: Subject, run: EvidenceFilter, log_z: float) -> Iterator[Finding]:
    if log_z == -math.inf:
        t = int(np.argmax(np.isneginf(run.log_evidences)))
        yield Finding(
            "problem",
            f"on the data all weights are zero at t = {t}, where y = {subject.y[t]}",
            "check that observation and the parameters; use more particles, a guided proposal "
            "or a heavier-tailed observation density",
        )
        return
    least = int(np.argmin(run.ess))
    text = (
        f"on the data the log-evidence is {log_z:.2f}; the effective sample size is "
        f"{np.mean(run.ess):.0f} of {subject.n} on average and {run.ess[least]:.1f} at the least, "
        f"at t = {least}, where y = {subject.y[least]}"
    )
    if run.ess[least] < 5:
        yield Finding(
            "cannot tell",
            text,
            "few particles explain that observation: more of them, a guided proposal or heavier "
            "tails; or it is an error in the data",
        )
    else:
        yield Finding("ok", text)


ADVICE = {
    "log_transition": "normal densities here take standard deviations; check the order of x and "
    "x_prev, and the normalising constant",
    "log_observation": "normal densities here take standard deviations; check the normalising "
    "constant",
}


def _agreement(
    subject: Subject, density: str, draw: str, path: Floats | None
) -> Iterator[Finding]:
    model = subject.model
    if getattr(model, density) is None:
        return
    if getattr(model, draw) is None:
        yield Finding("cannot tell", f"whether {density} is right: there is no {draw}")
        return
    try:
        rows = model.covariate_rows(subject.u, subject.y.shape[0])
        at = places(model, subject.p, subject.y, rows, path, density, draw, subject.seed)
        verdict = agreement(at, stream(subject.seed, 6))
    except MISTAKES as error:
        yield Finding("problem", f"{density} or {draw} fails:\n{error}")
        return
    if verdict.kind == "ok":
        yield Finding("ok", f"{density} agrees with {draw} ({verdict.text})")
    elif verdict.kind == "problem":
        yield Finding("problem", f"{density} disagrees with {draw}: {verdict.text}",
                      ADVICE.get(density, ""))  # fmt: skip
    else:
        yield Finding("cannot tell", f"whether {density} agrees with {draw}: {verdict.text}")


def _calibration(subject: Subject, series: int) -> Finding:
    model = subject.model
    if not isinstance(model.prior, Prior) or not model.prior.free or model.observe is None:
        return Finding("cannot tell", "simulation-based calibration needs a prior and observe")
    length = min(subject.y.shape[0], 50)
    u = None if subject.u is None else subject.u[:length]
    m = 50 if subject.fast else 10
    found = calibrate(model, u, length, series, subject.n, m, subject.seed)
    if found.failed > series / 10:
        return Finding(
            "problem",
            f"{found.failed} of {series} series drawn from the prior cannot be filtered",
            "the prior allows parameters at which the model breaks down",
        )
    names = model.prior.free
    p = [uniformity(found.ranks[:, k]) for k in range(len(names))]
    worst = int(np.argmin(p))
    text = (
        f"simulation-based calibration with {len(found.ranks)} series of {length} times: least "
        f"p-value {p[worst]:.2g}, of {names[worst]}"
    )
    if not found.noise < 1.0:
        return Finding("cannot tell", f"{text}; but the log-evidences have standard deviation "
                       f"{found.noise:.2f}", "use more particles")  # fmt: skip
    if p[worst] < 100 * LEAST_P:
        return Finding("problem", text, "observe, log_observation or the filter is wrong")
    return Finding("ok", text)
