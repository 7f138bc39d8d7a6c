"""Importance nested sampling with neural networks by nautilus, default settings; see compare.py.

nautilus gives no error of log Z; 1/sqrt(n_eff), the rule of its paper, stands in for one.
"""

from __future__ import annotations

import nautilus
from running import Clocked, OutOfTime, run_clocked, task


def main() -> None:
    run = task(__doc__)
    target = run.target
    likelihood = Clocked(target.log_likelihood("vectorised"), run.limit, rows=False)

    def sample() -> dict[str, float]:
        sampler = nautilus.Sampler(
            target.prior.from_unit,
            likelihood,
            n_dim=target.d,
            vectorized=True,
            seed=run.seed,
        )
        if not sampler.run(timeout=run.limit):
            raise OutOfTime
        return {
            "log_evidence": float(sampler.log_z),
            "log_evidence_error": float(sampler.n_eff**-0.5),
        }

    run_clocked(likelihood, nautilus.__version__, sample)


if __name__ == "__main__":
    main()
