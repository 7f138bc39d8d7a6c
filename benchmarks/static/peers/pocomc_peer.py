"""Preconditioned Monte Carlo by pocoMC with its default settings; run by compare.py."""

from __future__ import annotations

from importlib.metadata import version

import pocomc
from running import Clocked, run_clocked, task


def main() -> None:
    run = task(__doc__)
    target = run.target
    likelihood = Clocked(target.log_likelihood("vectorised"), run.limit, rows=False)

    def sample() -> dict[str, float]:
        sampler = pocomc.Sampler(
            prior=pocomc.Prior(target.prior.scipy()),
            likelihood=likelihood,
            vectorize=True,
            random_state=run.seed,
        )
        sampler.run(progress=False)
        log_evidence, error = sampler.evidence()
        return {"log_evidence": float(log_evidence), "log_evidence_error": float(error)}

    run_clocked(likelihood, version("pocomc"), sample)


if __name__ == "__main__":
    main()
