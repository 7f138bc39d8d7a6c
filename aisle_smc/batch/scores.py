"""Tasks that score forecasts: fit the first part of a series, forecast the rest step by step."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aisle_smc.arguments import check_count
from aisle_smc.batch.fits import FIT
from aisle_smc.batch.limits import Limits
from aisle_smc.batch.outcome import Call, Outcome
from aisle_smc.batch.series import Series, as_series
from aisle_smc.batch.words import check_keys

__all__ = ["SCORE"]

HOLDOUT = 0.25
SCORE_DRAWS = 200


@dataclass(frozen=True, slots=True)
class _Score:
    """:func:`aisle_smc.ssm.scoring.leave_future_out` after a fit to the first part of a series.

    Besides the options of ``pmmh`` it takes ``holdout``, the share of times at the end that are
    forecast (0.25), and ``score_draws``, how many draws of the parameters forecast (200).
    """

    subject: str = "model"
    judged: Container[str] | None = None
    known: tuple[str, ...] = (
        "model", "data", "n", "draws", "tune", "chains", "proposal", "resampler", "threshold",
        "correlation", "initial", "holdout", "score_draws",
    )  # fmt: skip

    def check(self, options: Mapping[str, Any], data: Any, limits: Limits) -> None:
        check_keys("a score", options, self.known)
        draws = options.get("score_draws", SCORE_DRAWS)
        check_count("score_draws", draws)
        if data is not None:
            data = _first_part(as_series(data), options.get("holdout", HOLDOUT))
        FIT.check(_of_the_fit(options) | {"evidence_draws": draws}, data, limits)

    def prepare(self, options: Mapping[str, Any], data: Any) -> None:
        FIT.prepare(options, data)

    def run(self, call: Call) -> Outcome:
        from aisle_smc.ssm.pmmh import pmmh
        from aisle_smc.ssm.scoring import leave_future_out

        given, series = _of_the_fit(call.options), as_series(call.data)
        del given["data"]
        part = _first_part(series, call.options.get("holdout", HOLDOUT))
        if call.checkpoint is not None:
            call.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        seed = call.task.number
        posterior = pmmh(
            given.pop("model"), part.y, u=part.u, **given, file=call.checkpoint,
            workers=call.threads, progress=False, seed=seed,
        )  # fmt: skip
        draws = call.options.get("score_draws", SCORE_DRAWS)
        score = leave_future_out(posterior, series.y, u=series.u, draws=draws, seed=seed)
        rows = [row.values for row in posterior.summary().rows]
        return Outcome(
            values={
                "score": score.value,
                "score_error": score.error,
                "forecasts": score.observed,
                "ess": float(np.min([min(row["ess_bulk"], row["ess_tail"]) for row in rows])),
                "r_hat": float(np.max([row["r_hat"] for row in rows])),
                "acceptance": float(np.mean(posterior.acceptance)),
                "particles": posterior.n,
            },
            value={"log_densities": score.log_densities, "first": score.first},
        )


def _of_the_fit(options: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in options.items() if k not in {"holdout", "score_draws"}}


def _first_part(series: Series, holdout: Any) -> Series:
    """Return the part that is fitted."""
    if isinstance(holdout, bool) or not isinstance(holdout, int | float) or not 0 < holdout < 1:
        raise ValueError(f"holdout must be a share between 0 and 1; got {holdout!r}")
    length = series.y.shape[0]
    kept = length - round(holdout * length)
    if not 0 < kept < length:
        raise ValueError(f"holdout={holdout} leaves {kept} of {length} observations to fit")
    u, time = (None if a is None else a[:kept] for a in (series.u, series.time))
    return replace(series, y=series.y[:kept], u=u, time=time)


SCORE = _Score()
