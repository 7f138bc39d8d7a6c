"""The stochastic-volatility bootstrap filter of `cuthbert` (JAX), timed; run by filters.py."""

import json
import sys
import time

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from cuthbert import filter as run_filter  # noqa: E402
from cuthbert.smc import particle_filter  # noqa: E402
from cuthbertlib.resampling import systematic  # noqa: E402
from cuthbertlib.resampling.adaptive import ess_decorator  # noqa: E402

MU, RHO, SIGMA = -1.02, 0.9702, 0.178


def log_density(y, x):
    """Return the log-density of a return given its log-variance."""
    return -0.5 * (y * y * jnp.exp(-x) + x + jnp.log(2.0 * jnp.pi))


def main(path, n, repeats):
    """Print the first and the best time."""
    y = jnp.asarray(np.load(path))
    filter_ = particle_filter.build_filter(
        init_sample=lambda key: MU + SIGMA / jnp.sqrt(1 - RHO**2) * jax.random.normal(key),
        propagate_sample=lambda key, x, y_t: MU + RHO * (x - MU) + SIGMA * jax.random.normal(key),
        log_potential=lambda x_prev, x, y_t: log_density(y_t, x),
        n_filter_particles=n,
        resampling_fn=ess_decorator(systematic.resampling, 0.5),
    )

    @jax.jit
    def run(key, y):
        states = run_filter(filter_, y, filter_.init_prepare(key=key), key=key)
        return states.log_normalizing_constant[-1]

    times, values = [], []
    for seed in range(repeats + 1):
        start = time.perf_counter()
        value = float(run(jax.random.key(seed), y).block_until_ready())
        times.append(time.perf_counter() - start)
        values.append(value)
    print(json.dumps({"version": "0.1.1", "first": times[0], "best": min(times[1:]),
                      "log_evidences": values[1:]}))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
