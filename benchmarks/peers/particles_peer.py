"""The stochastic-volatility filter and PMMH of `particles`, timed; run by the scripts above."""

import json
import sys
import time

import numpy as np
import particles
from particles import distributions as dists
from particles import mcmc
from particles import state_space_models as ssm


def bootstrap(y, n, repeats):
    """Return the first and the best time of a bootstrap filter, and its log-evidences."""
    model = ssm.Bootstrap(ssm=ssm.StochVol(mu=-1.02, rho=0.9702, sigma=0.178), data=y)
    times, values = [], []
    for _ in range(repeats + 1):
        filter_ = particles.SMC(fk=model, N=n, resampling="systematic", ESSrmin=0.5)
        start = time.perf_counter()
        filter_.run()
        times.append(time.perf_counter() - start)
        values.append(float(filter_.logLt))
    return {"first": times[0], "best": min(times[1:]), "log_evidences": values[1:]}


def pmmh(y, n, iterations):
    """Return the time of so many PMMH iterations."""
    prior = dists.StructDist(
        {"mu": dists.Normal(0.0, 2.0), "rho": dists.Uniform(0.0, 1.0), "sigma": dists.Gamma()}
    )
    chain = mcmc.PMMH(niter=iterations, ssm_cls=ssm.StochVol, prior=prior, data=list(y), Nx=n)
    start = time.perf_counter()
    chain.run()
    return {"seconds": time.perf_counter() - start}


if __name__ == "__main__":
    kind, path, size, count = sys.argv[1:]
    series = np.load(path)
    result = {"bootstrap": bootstrap, "pmmh": pmmh}[kind](series, int(size), int(count))
    print(json.dumps({"version": "0.4", **result}))
