"""Tasks that score forecasts: what they refuse, and that they score what they have not fitted."""

from __future__ import annotations

import numpy as np
import pytest

from aisle_smc.batch import Grid, Limits, Series, Study
from aisle_smc.batch.kinds import kind_of
from aisle_smc.batch.scores import _first_part
from aisle_smc.ssm import nile, pmmh
from aisle_smc.ssm.scoring import leave_future_out
from aisle_smc.ssm.zoo import LocalLevel

pytest.importorskip("arviz_stats")

MODEL = LocalLevel(initial_mean=1000.0, initial_sd=300.0, scale=100.0)
SHORT = {"n": 50, "draws": 30, "tune": 30, "chains": 2}


def study(series, **options):
    return Study(
        tasks=Grid(kind="score", options={"model": MODEL, "data": "nile", **SHORT, **options}),
        data={"nile": series},
        seed=3,
    )


def test_score_task_fits_the_first_part_and_forecasts_the_rest(tmp_path):
    flow = nile()
    given = study(Series(y=flow.volume, time=flow.years), holdout=0.2, score_draws=20)
    result = given.run(1, "threads", folder=tmp_path, progress=False)
    (row,) = result.table()
    seed = given.task(0).number
    fit = pmmh(MODEL, flow.volume[:80], **SHORT, seed=seed, progress=False)
    score = leave_future_out(fit, flow.volume, draws=20, seed=seed)
    assert (row["score"], row["score_error"]) == (score.value, score.error)
    assert row["forecasts"] == 20
    assert np.array_equal(result.value(0)["log_densities"], score.log_densities)
    assert result.value(0)["first"] == 80
    assert not list((tmp_path / "work").rglob("*.aisle"))  # no checkpoint stays


def test_score_of_a_series_with_covariates_and_times():
    series = Series(y=np.arange(8.0), u=np.arange(16.0).reshape(8, 2), time=np.arange(8))
    part = _first_part(series, 0.25)
    assert (part.y.tolist(), part.u.shape, part.time.tolist()) == (
        list(range(6)),
        (6, 2),
        list(range(6)),
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"holdout": 1.5}, "holdout must be a share between 0 and 1; got 1.5"),
        ({"holdout": 0.001}, "leaves 100 of 100 observations to fit"),
        ({"score_draws": 0}, "score_draws"),
        ({"hold_out": 0.2}, "unknown key 'hold_out'; did you mean 'holdout'?"),
        ({"evidence_draws": 10}, "unknown key 'evidence_draws'"),
    ],
)
def test_options_that_cannot_work(options, words):
    with pytest.raises(ValueError, match=words.replace("?", r"\?").replace("(", r"\(")):
        study(Series(y=nile().volume), **options)


def test_limit_of_evaluations_counts_the_forecasts():
    options = {"model": MODEL, **SHORT, "score_draws": 500}
    kind = kind_of("score")
    kind.check(options, nile().volume, Limits(evaluations=620))
    with pytest.raises(ValueError, match="620 filter runs exceeds the limit of 619"):
        kind.check(options, nile().volume, Limits(evaluations=619))
