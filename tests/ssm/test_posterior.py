"""What a run of chains returns: its table, its words, its doors to other modules."""

from __future__ import annotations

import csv
import re
import sys
from dataclasses import FrozenInstanceError, replace
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from aisle_smc.ssm.math import normal_logpdf
from aisle_smc.ssm.model import StateSpaceModel
from aisle_smc.ssm.pmmh import pmmh
from aisle_smc.ssm.posterior import COLUMNS
from aisle_smc.ssm.vector import VectorModel
from aisle_smc.summary import Row, Summary
from tests.oracles.nile_grid import MODEL, Y


class Sd(NamedTuple):
    sd: float


@cache
def posterior():
    return pmmh(MODEL, Y[:20], 30, draws=120, tune=80, seed=1, progress=False)


def made_of(parameters, **change):
    """The posterior with other draws."""
    chains, draws = parameters.shape[:2]
    return replace(
        posterior(),
        parameters=parameters,
        accepted=np.ones((chains, draws), dtype=bool),
        acceptance=np.full(chains, 0.3),
        degenerate=np.zeros(chains, dtype=int),
        **change,
    )


def test_summary_is_arviz_s_own():
    import arviz_stats

    table = posterior().summary()
    assert [row.name for row in table.rows] == ["noise", "level"]
    for row in table.rows:
        draws = posterior()[row.name]
        assert row.values["mean"] == pytest.approx(draws.mean())
        assert row.values["sd"] == pytest.approx(draws.std())
        low, high = arviz_stats.hdi(draws.reshape(-1), prob=0.94)
        assert row.values["hdi_3%"] == pytest.approx(low)
        assert row.values["hdi_97%"] == pytest.approx(high)
        # The shortest interval, by hand: arviz_stats 0.8.0 tabulates equal tails under its name.
        flat = np.sort(draws.reshape(-1))
        inside = int(0.94 * flat.size)
        assert high - low == pytest.approx(np.min(flat[inside:] - flat[:-inside]))
        assert row.values["r_hat"] == pytest.approx(float(arviz_stats.rhat(draws)))
        assert row.values["ess_bulk"] == pytest.approx(float(arviz_stats.ess(draws)))
    assert table["level"] is table.rows[1].values
    assert posterior().summary() is table
    with pytest.raises(KeyError):
        table["nothing"]


def test_summary_prints_aligned_and_is_written(tmp_path):
    table = posterior().summary()
    lines = str(table).splitlines()
    assert len(lines) == 3
    ends = [lines[0].index(c) + len(c) for c in table.columns]
    for line in lines[1:]:
        assert all(line[end - 1] != " " and line[end : end + 1] in ("", " ") for end in ends)
    table.to_csv(tmp_path / "summary.csv")
    with open(tmp_path / "summary.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["parameter"] for row in rows] == ["noise", "level"]
    assert float(rows[1]["hdi_97%"]) == table["level"]["hdi_97%"]


@pytest.mark.parametrize("sd", [0.0, np.nan, 1e-9, 0.02, 3.0, 1e7])
def test_summary_prints_any_scale(sd):
    values = dict.fromkeys(COLUMNS, 1.25) | {"sd": sd}
    assert "1.2" in str(Summary((Row("a", values),), COLUMNS))


def test_missing_arviz_is_said_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz_stats", None)
    fresh = replace(posterior())
    with pytest.raises(ImportError, match=r"aisle-smc\[report\]"):
        fresh.summary()
    assert "aisle-smc[report]" in repr(fresh)


def test_repr_says_how_far_to_trust_it():
    rng = np.random.default_rng(0)
    good = made_of(np.exp(rng.normal(size=(4, 500, 2))))
    assert "the chains agree" in repr(good)
    assert "more particles" not in repr(good)
    apart = made_of(np.exp(rng.normal(size=(4, 500, 2)) + 9.0 * np.arange(4)[:, None, None]))
    assert "the chains disagree" in repr(apart)
    assert "draw more before quoting" in repr(made_of(np.exp(rng.normal(size=(4, 50, 2)))))
    low = replace(good, acceptance=np.array([0.01, 0.3, 0.3, 0.3]))
    assert "use more particles" in repr(low)
    assert "use more particles" in repr(replace(good, log_evidence_sd=3.1))
    lost = replace(good, degenerate=np.array([0, 7, 0, 0]))
    assert "7 of 2000 proposals" in repr(lost)
    assert "log-evidence -" in repr(posterior().with_evidence(40))


def test_a_chain_that_never_moved_is_no_agreement():
    assert "disagree" in repr(made_of(np.ones((4, 100, 2)) * np.array([1.0, 2.0])))


def test_it_is_a_value():
    with pytest.raises(FrozenInstanceError):
        posterior().n = 5
    with pytest.raises(KeyError, match="noise, level"):
        posterior()["sigma"]


def words(figure):
    """Everything written in a figure."""
    from matplotlib.text import Text

    return " ".join(text.get_text() for text in figure.findobj(Text))


def drifting(**change):
    """A level that moves with a covariate."""
    return StateSpaceModel(
        **{
            "params": Sd,
            "initial": lambda rng: rng.normal(2e8, 1.0),
            "transition": lambda rng, x, p, u: rng.normal(x + u, 0.1),
            "log_observation": lambda y, x, p: normal_logpdf(y, x, p.sd),
            "observe": lambda rng, x, p: rng.normal(x, p.sd),
            "covariates": float,
            "prior": {"sd": stats.gamma(2.0, scale=0.5)},
        }
        | change
    )


def test_a_high_level_and_covariates_to_come():
    y = 2e8 + np.random.default_rng(1).normal(size=6)
    found = pmmh(drifting(), y, 50, u=np.zeros(6), draws=30, tune=30, chains=2, progress=False)
    # Single precision has steps of 16 there.
    assert np.any(found.states % 1.0)
    assert np.abs(found.states - 2e8).max() < 8.0
    seen = found.to_arviz().posterior_predictive["y"].to_numpy()
    assert np.any(seen % 1.0)
    with pytest.raises(ValueError, match="covariates"):
        found.plot_forecast(4)
    assert found.plot_forecast(4, u=np.ones(4)) is not None
    import matplotlib.pyplot as plt

    plt.close("all")


def test_nan_density_names_the_iteration_and_the_way_to_the_draws(tmp_path):
    class Counter:
        calls, limit = 0, 10**9

    # The fingerprint sees the kind of an object, not what is in it.
    counter = Counter()

    def log_observation(y, x, p):
        counter.calls += 1
        broken = counter.calls > counter.limit
        return np.full_like(x, np.nan) if broken else -0.5 * (y - x) ** 2

    model = VectorModel(
        params=Sd,
        initial=lambda rng, n: rng.normal(size=n),
        transition=lambda rng, x, p: rng.normal(x, p.sd),
        log_observation=log_observation,
        prior={"sd": stats.gamma(2.0, scale=0.5)},
    )

    given = {"file": tmp_path / "run.aisle", "tune": 0, "chains": 1, "progress": False}
    begun = pmmh(model, np.zeros(3), 5, draws=20, **given)
    counter.calls, counter.limit = 0, 300
    with pytest.raises(ValueError, match=r"chain 0, iteration \d+ of drawing") as caught:
        pmmh(model, np.zeros(3), 5, draws=400, **given)
    text = str(caught.value)
    assert "density of the model is nan" in text
    assert f"{given['file']}: the same call with draws=" in text
    count = int(re.search(r"draws=(\d+)", text)[1])
    assert 20 < count < 400
    assert f"iteration {count + 1} of drawing" in text
    counter.calls = 0
    found = pmmh(model, np.zeros(3), 5, draws=count, **given)
    assert counter.calls == 0
    assert found.parameters.shape == (1, count, 1)
    assert np.array_equal(found.parameters[:, :20], begun.parameters)


def test_doors(monkeypatch):
    coming = posterior().forecast(5, seed=1)
    assert coming.observations.shape[1] == 5
    for name in ("plot_pairs", "plot_traces", "plot_states"):
        figure = getattr(posterior(), name)()
        assert figure is not None
    assert posterior().plot_forecast(5) is not None
    assert posterior().forecast(3, draws=7).observations.shape == (7, 3)
    from aisle_smc.plots import View

    view = View(state="Level of the river")
    for figure in (posterior().plot_states(view=view), posterior().plot_forecast(5, view=view)):
        assert "Level of the river" in words(figure)
    import matplotlib.pyplot as plt

    plt.close("all")
