"""Static nested sampling by dynesty with its default settings; run by compare.py.

dynesty calls the likelihood point by point, so it gets the compiled row where there is one.
"""

from __future__ import annotations

import dynesty
import numpy as np
from running import Clocked, run_clocked, task


def main() -> None:
    run = task(__doc__)
    target = run.target
    function = target.log_likelihood("python" if target.row is None else "compiled")
    function(target.prior.from_unit(np.full(target.d, 0.5)))  # compiles outside the clock
    likelihood = Clocked(function, run.limit, rows=True)

    def sample() -> dict[str, float]:
        sampler = dynesty.NestedSampler(
            likelihood,
            target.prior.from_unit,
            target.d,
            rstate=np.random.default_rng(run.seed),
        )
        sampler.run_nested(print_progress=False)
        return {
            "log_evidence": float(sampler.results.logz[-1]),
            "log_evidence_error": float(sampler.results.logzerr[-1]),
        }

    run_clocked(likelihood, dynesty.__version__, sample)


if __name__ == "__main__":
    main()
