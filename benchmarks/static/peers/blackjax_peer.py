"""Tempered SMC and nested slice sampling by blackjax; run by compare.py.

blackjax is a kit of parts.  Variants, put together the way its documentation does it:

`smc`: adaptive tempering at an ESS of one half, 2000 particles, ten random-walk steps per stage
(the default number) of covariance 2.38^2/d times that of the particles, tuned at every stage.
`hmc`: the same with ten Hamiltonian moves, leapfrog steps of length d^(-1/4) over a quarter of a
period, with the covariance of the particles for an inverse mass matrix (their variances for
d > 100); for priors without bounds.
`nss`: nested slice sampling, 500 live points, fifty replaced at a time, max(5, 2d) slice moves
each, until the live points hold a thousandth of the evidence; its error by simulated volumes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

import blackjax  # noqa: E402
import blackjax.ns.integrator as integrator  # noqa: E402
import blackjax.ns.utils as nested  # noqa: E402
import blackjax.smc.resampling as resampling  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from blackjax.smc import extend_params  # noqa: E402
from blackjax.smc.tuning import from_particles  # noqa: E402
from running import Task, report, task  # noqa: E402

PARTICLES, STEPS = 2000, 10
LIVE, REPLACED = 500, 50
DENSE = 100

Step = Iterator[dict[str, float]]


def cost(likelihood: Any, points: Any) -> float:
    """Return seconds per point of the likelihood alone, compiled and vectorised."""
    evaluate = jax.jit(jax.vmap(likelihood))
    evaluate(points).block_until_ready()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        evaluate(points).block_until_ready()
        times.append(time.perf_counter() - start)
    return min(times) / len(points)


def start_points(run: Task, n: int) -> Any:
    rng = np.random.default_rng(run.seed)
    return jnp.asarray(run.target.prior.from_unit(rng.random((n, run.target.d))))


def leapfrogs(d: int) -> int:
    return int(np.ceil(0.5 * np.pi * d**0.25))


def tempered(run: Task, likelihood: Any, prior: Any, particles: Any) -> Any:
    d = run.target.d

    def walk(key: Any, state: Any, log_density: Any, root: Any) -> Any:
        kernel = blackjax.additive_step_random_walk.normal_random_walk(log_density, root)
        return kernel.step(key, state)

    def tune_walk(key: Any, state: Any, info: Any) -> Any:
        covariance = from_particles.particles_covariance_matrix(state.particles)
        root = 2.38 / np.sqrt(d) * jnp.linalg.cholesky(covariance + 1e-12 * jnp.eye(d))
        return extend_params({"root": root})

    def tune_hmc(key: Any, state: Any, info: Any) -> Any:
        covariance = from_particles.particles_covariance_matrix(state.particles)
        scale = covariance + 1e-12 * jnp.eye(d) if d <= DENSE else jnp.diag(covariance)
        return extend_params({"inverse_mass_matrix": scale, **lengths})

    lengths = {"step_size": d**-0.25, "num_integration_steps": leapfrogs(d)}
    gradient = run.variant == "hmc"
    tune = tune_hmc if gradient else tune_walk
    first = blackjax.smc.tempered.init(particles)
    algorithm = blackjax.inner_kernel_tuning(
        smc_algorithm=blackjax.adaptive_tempered_smc,
        logprior_fn=prior,
        loglikelihood_fn=likelihood,
        mcmc_step_fn=blackjax.hmc.build_kernel() if gradient else walk,
        mcmc_init_fn=blackjax.hmc.init if gradient else blackjax.rmh.init,
        resampling_fn=resampling.systematic,
        mcmc_parameter_update_fn=tune,
        initial_parameter_value=tune(None, first, None),
        num_mcmc_steps=STEPS,
        target_ess=0.5,
    )
    return algorithm


def run_tempered(run: Task, likelihood: Any, prior: Any) -> dict[str, Any]:
    particles = start_points(run, PARTICLES)
    algorithm = tempered(run, likelihood, prior, particles)
    state = algorithm.init(particles)
    key = jax.random.key(run.seed)
    start = time.perf_counter()
    step = jax.jit(algorithm.step).lower(key, state).compile()
    compile_seconds = time.perf_counter() - start
    moves = STEPS * leapfrogs(run.target.d) if run.variant == "hmc" else STEPS
    log_evidence, evaluations, status = 0.0, 0, "done"
    start = time.perf_counter()
    while float(state.sampler_state.tempering_param) < 1.0:
        if time.perf_counter() - start > run.limit or not np.isfinite(log_evidence):
            status = "timed out" if np.isfinite(log_evidence) else "failed"
            break
        key, key_of_step = jax.random.split(key)
        state, info = step(key_of_step, state)
        log_evidence += float(info.log_likelihood_increment)
        # Once for the temperature, once to start the moves, and once for the weights.
        evaluations += PARTICLES * (moves + 3)
    return {
        "status": status,
        "log_evidence": log_evidence if status == "done" else None,
        "log_evidence_error": None,
        "seconds": time.perf_counter() - start,
        "compile_seconds": compile_seconds,
        "evaluations": evaluations,
    }


def run_nested(run: Task, likelihood: Any, prior: Any) -> dict[str, Any]:
    points = start_points(run, LIVE)
    algorithm = blackjax.nss(
        logprior_fn=prior,
        loglikelihood_fn=likelihood,
        num_inner_steps=max(5, 2 * run.target.d),
        num_delete=REPLACED,
    )
    key = jax.random.key(run.seed)
    state = jax.jit(algorithm.init)(points)
    total = integrator.init_integrator(state.particles)

    def both(key: Any, state: Any, total: Any) -> Any:
        state, info = algorithm.step(key, state)
        return state, integrator.update_integrator(total, state.particles, info.particles), info

    start = time.perf_counter()
    step = jax.jit(both).lower(key, state, total).compile()
    compile_seconds = time.perf_counter() - start
    dead, evaluations, status = [], LIVE, "done"
    start = time.perf_counter()
    while not float(total.logZ_live) - float(total.logZ) < -6.9:
        if time.perf_counter() - start > run.limit:
            status = "timed out"
            break
        key, key_of_step = jax.random.split(key)
        state, total, info = step(key_of_step, state, total)
        dead.append(info)
        moves = info.update_info
        # A slice: its two ends, the expansions of them, and the shrinkage.
        evaluations += int((2 + moves.num_expansions + moves.num_shrink).sum())
    found: dict[str, Any] = {"log_evidence": None, "log_evidence_error": None}
    if status == "done":
        everything = nested.finalise(state, dead, update_info=False)
        weights = nested.log_weights(jax.random.key(run.seed + 1), everything, shape=200)
        simulated = jax.scipy.special.logsumexp(weights, axis=0)
        found = {
            "log_evidence": float(simulated.mean()),
            "log_evidence_error": float(simulated.std()),
        }
    return {
        "status": status,
        **found,
        "seconds": time.perf_counter() - start,
        "compile_seconds": compile_seconds,
        "evaluations": evaluations,
    }


def main() -> None:
    run = task(__doc__.splitlines()[0])
    target = run.target
    likelihood, prior = target.log_likelihood("jax"), target.prior.log_density(jnp)
    points = start_points(run, PARTICLES)
    expected = target.log_likelihood("vectorised")(np.asarray(points[:5]))
    np.testing.assert_allclose(jax.vmap(likelihood)(points[:5]), expected, rtol=1e-8)
    runs = {"smc": run_tempered, "hmc": run_tempered, "nss": run_nested}
    found = runs[run.variant or "smc"](run, likelihood, prior)
    seconds = cost(likelihood, points) * found["evaluations"]
    report(version=version("blackjax"), likelihood_seconds=seconds, **found)


if __name__ == "__main__":
    main()
