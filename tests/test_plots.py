"""Figures: what they show, what they say, and that they leave no trace."""

import sys
from itertools import pairwise
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from scipy.stats import beta, halfnorm, norm

from aisle_smc.plots import (
    View,
    plot_ess,
    plot_filter,
    plot_forecast,
    plot_pairs,
    plot_states,
    plot_traces,
)
from aisle_smc.plots.series import half_exp, view_of
from aisle_smc.plots.style import future_of, time_of
from aisle_smc.priors import Prior

matplotlib = pytest.importorskip("matplotlib")

T = 60


def fake_model(name="a model", states=("x",), observations=("y",)):
    prior = Prior({"mu": norm(0, 2), "rho": beta(20, 1.5), "sigma": halfnorm(scale=1), "c": 1.0})
    return SimpleNamespace(
        name=name,
        state_names=states,
        observation_names=observations,
        parameter_names=("mu", "rho", "sigma", "c"),
        prior=prior,
        covariates=None,
    )


def fake_posterior(name="a model", d=0, k=0, follows=True):
    """A posterior-like value with T times, d state and k observation components (0: a number)."""
    rng = np.random.default_rng(1)
    level = np.cumsum(rng.normal(size=T))
    y = (level if follows else 5.0 + 0.0 * level) + 0.3 * rng.normal(size=T)
    y[7:10] = np.nan
    states = level + 0.2 * rng.normal(size=(2, 50, T))
    model = fake_model(
        name,
        tuple(f"s{i}" for i in range(d)) or ("x",),
        tuple(f"y{i}" for i in range(k)) or ("y",),
    )
    return SimpleNamespace(
        model=model,
        y=np.stack([y] * k, axis=1) if k else y,
        u=None,
        n=100,
        names=("mu", "rho", "sigma"),
        parameters=np.stack(
            [rng.normal(size=(2, 50)), rng.beta(20, 2, (2, 50)), rng.gamma(9, 0.02, (2, 50))], -1
        ),
        states=(np.stack([states] * d, axis=-1) if d else states).astype(np.float32),
        log_evidences=rng.normal(-100, 1, (2, 50)),
    )


def fake_result(scalar=True):
    rng = np.random.default_rng(2)
    mean = np.cumsum(rng.normal(size=T))
    quantiles = mean[:, None] + np.array([-1.6, 0.0, 1.6])
    return SimpleNamespace(
        model=fake_model(),
        n=50,
        y=mean + rng.normal(size=T),
        mean=mean,
        variance=np.ones(T),
        quantile_levels=(0.05, 0.5, 0.95),
        quantiles=quantiles,
        ess=rng.uniform(5, 50, T),
        log_evidence_increments=-rng.gamma(2, 1, T),
    )


@pytest.fixture
def future(monkeypatch):
    """Forecasts without a model behind them."""

    def draw(posterior, h, *, u=None, seed=0):
        rng = np.random.default_rng(seed)
        states, y = posterior.states, posterior.y
        return SimpleNamespace(
            states=rng.normal(size=(40, h, *states.shape[3:])),
            observations=rng.normal(size=(40, h, *y.shape[1:])),
        )

    monkeypatch.setattr("aisle_smc.plots.forecasts.draw_future", draw)


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]


def legend(figure):
    return [text.get_text() for one in figure.legends for text in one.get_texts()]


def drawings():
    return {
        "pairs": lambda **k: plot_pairs(fake_posterior(), **k),
        "traces": lambda **k: plot_traces(fake_posterior(), **k),
        "states": lambda **k: plot_states(fake_posterior(), **k),
        "filter": lambda **k: plot_filter(fake_result(), truth=np.zeros(T), **k),
        "ess": lambda **k: plot_ess(fake_result(), **k),
        "forecast": lambda **k: plot_forecast(fake_posterior(), 6, **k),
    }


@pytest.mark.parametrize("name", drawings())
def test_a_figure_is_drawn_at_both_widths_and_leaves_no_trace(name, future, tmp_path):
    before = dict(matplotlib.rcParams)
    loaded = "matplotlib.pyplot" in sys.modules
    for width in (7.6, 3.9):
        figure = drawings()[name](width=width)
        figure.savefig(tmp_path / "a.png")
        assert (tmp_path / "a.png").stat().st_size > 5000
        assert figure.get_figwidth() == pytest.approx(width, rel=0.01)
    assert dict(matplotlib.rcParams) == before
    # Nothing registers a figure with pyplot, not even by importing it.
    assert ("matplotlib.pyplot" in sys.modules) == loaded


@pytest.mark.parametrize("name", drawings())
def test_nothing_is_cut_off_and_labels_do_not_overlap(name, future):
    for width in (7.6, 3.9):
        figure = drawings()[name](width=width)
        figure.draw_without_rendering()
        renderer = figure.canvas.get_renderer()
        page = figure.bbox
        for axes in figure.axes:
            boxes = []
            for label in axes.get_xticklabels():
                box = label.get_window_extent(renderer)
                if not (label.get_visible() and label.get_text() and box.width):
                    continue
                if axes.bbox.x0 - 1 <= (box.x0 + box.x1) / 2 <= axes.bbox.x1 + 1:
                    boxes.append(box)
            for a, b in pairwise(boxes):
                assert a.x1 <= b.x0 + 1, f"{name} at {width}: tick labels touch"
            title = axes.title if not axes._left_title.get_text() else axes._left_title
            if title.get_text():
                box = title.get_window_extent(renderer)
                assert box.x1 <= page.x1 + 1, f"{name} at {width}: {title.get_text()!r} is cut"


def test_states_share_a_panel_with_what_they_predict():
    assert titles(plot_states(fake_posterior())) == ["y, with state x"]
    # The negative twin: a path that says nothing about the observations gets its own panel.
    assert titles(plot_states(fake_posterior(follows=False))) == ["y", "State x"]


def test_states_of_several_components():
    figure = plot_states(fake_posterior(d=2, k=1), view=View(observation="Cases (per week)"))
    assert titles(figure) == ["Cases (per week), with state s0", "State s1"]
    assert legend(figure) == ["observed", "median", "90 % band", "50 % band"]


def test_many_components_are_cut_at_eight():
    assert len(titles(plot_states(fake_posterior(d=12)))) == 8


def test_volatility_is_drawn_as_such():
    posterior = fake_posterior("stochastic volatility with leverage")
    view = view_of(posterior.model, View())
    assert view.scale is half_exp
    figure = plot_states(posterior, view=View(observation="Return (%)", state="Volatility (%)"))
    assert titles(figure) == ["Volatility (%) over |return|"]
    (axes,) = figure.axes
    median = next(line for line in axes.lines if line.get_label() == "median")
    expected = np.exp(0.5 * np.median(posterior.states.reshape(-1, T), axis=0))
    np.testing.assert_allclose(median.get_ydata(), expected, rtol=1e-5)
    assert axes.get_ylim()[0] == 0
    assert view_of(fake_model(), View()).scale is None


def test_bands_are_the_quantiles():
    posterior = fake_posterior()
    (axes,) = plot_states(posterior).axes
    low, high = np.quantile(posterior.states.reshape(-1, T), (0.05, 0.95), axis=0)
    band = next(c for c in axes.collections if c.get_label() == "90 % band")
    edges = band.get_paths()[0].vertices
    for t in (0, 20, T - 1):
        seen = edges[edges[:, 0] == t, 1]
        assert seen.min() == pytest.approx(low[t], rel=1e-5)
        assert seen.max() == pytest.approx(high[t], rel=1e-5)


def test_dates_are_on_the_axis():
    days = np.datetime64("2020-01-01") + np.arange(T)
    figure = plot_states(fake_posterior(), view=View(time=days))
    figure.draw_without_rendering()
    said = [t.get_text() for t in figure.axes[-1].get_xticklabels()]
    assert {"2020", "Feb"} & set(said)
    assert figure.axes[-1].get_xlabel() == ""
    assert plot_states(fake_posterior()).axes[-1].get_xlabel() == "time index"


def test_filter_without_median_falls_back_to_moments():
    result = fake_result()
    result.quantile_levels, result.quantiles = (), np.empty((T, 0))
    figure = plot_filter(result)
    line = next(x for x in figure.axes[0].lines if x.get_label() == "median")
    np.testing.assert_array_equal(line.get_ydata(), result.mean)


def test_missing_observations_are_no_surprise():
    result = fake_result()
    result.y[5] = np.nan
    axes = plot_ess(result).axes[1]
    assert np.isnan(axes.lines[0].get_ydata()[5])
    assert np.isfinite(axes.lines[0].get_ydata()[6])


def test_pairs_say_their_correlation():
    posterior = fake_posterior()
    posterior.parameters[..., 1] = -posterior.parameters[..., 0]
    figure = plot_pairs(posterior)
    assert "\N{MINUS SIGN}1.00" in [t.get_text() for axes in figure.axes for t in axes.texts]
    assert legend(figure) == ["posterior", "prior"]


def test_a_constant_chain_does_not_break_a_figure():
    posterior = fake_posterior()
    posterior.parameters[..., 0] = 1.0
    plot_pairs(posterior).draw_without_rendering()
    plot_traces(posterior).draw_without_rendering()


def test_ranks_are_level_for_equal_chains_and_not_for_apart_ones():
    posterior = fake_posterior()
    posterior.parameters[0, :, 0] += 100.0
    ranks = plot_traces(posterior).axes[1]
    first, second = (patch.get_data().values for patch in ranks.patches)
    assert first[0] == 0.0
    assert second[0] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("time", "h", "expected"),
    [
        (np.arange(5), 2, [5, 6]),
        (np.arange(0, 10, 2.5), 2, [10.0, 12.5]),
        (np.arange("2020-01-01", "2020-01-05", dtype="datetime64[D]"), 1, ["2020-01-05"]),
        (np.array(["2019-12-01", "2020-01-01"], "datetime64[M]"), 1, ["2020-02"]),
        (np.array([7]), 2, [8, 9]),
    ],
)
def test_time_goes_on(time, h, expected):
    np.testing.assert_array_equal(future_of(time, h), np.array(expected, dtype=time.dtype))


def test_weekdays_go_on_over_weekends():
    days = np.arange("2019-01-01", "2019-02-02", dtype="datetime64[D]")
    days = days[np.is_busday(days)]
    assert days[-1] == np.datetime64("2019-02-01")  # a Friday
    ahead = future_of(days, 6)
    expected = ["2019-02-04", "2019-02-05", "2019-02-06", "2019-02-07", "2019-02-08", "2019-02-11"]
    np.testing.assert_array_equal(ahead, np.array(expected, "datetime64[D]"))


def test_time_of_the_wrong_length():
    with pytest.raises(ValueError, match=r"time must have shape \(60,\).*got shape \(59,\)"):
        time_of(View(time=np.arange(59)), 60)


def test_real_results_draw():
    """The functions against the library's own values, not against stand-ins."""
    from aisle_smc.ssm.math import normal_logpdf
    from aisle_smc.ssm.model import StateSpaceModel
    from aisle_smc.ssm.pmmh import pmmh

    class Params(NamedTuple):
        sd: float

    model = StateSpaceModel(
        params=Params,
        initial=lambda rng: rng.normal(0.0, 1.0),
        transition=lambda rng, x, p: rng.normal(x, p.sd),
        log_observation=lambda y, x: normal_logpdf(y, x, 1.0),
        observe=lambda rng, x: rng.normal(x, 1.0),
        prior={"sd": halfnorm(scale=1.0)},
    )
    y = np.cumsum(np.random.default_rng(0).normal(size=30))
    posterior = pmmh(model, y, 50, draws=30, tune=30, chains=2, progress=False)
    for figure in (
        posterior.plot_pairs(),
        posterior.plot_traces(),
        posterior.plot_states(),
        posterior.plot_forecast(5),
        plot_ess(posterior),
    ):
        figure.draw_without_rendering()
    from aisle_smc.ssm.filters import particle_filter

    particle_filter(model, {"sd": 0.5}, y, 50).plot(truth=y).draw_without_rendering()
