"""Figures: what they show, what they say, and that they leave no trace."""

import sys
from itertools import pairwise
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from scipy.stats import beta, gamma, halfnorm, norm, uniform

from aisle_smc.plots import (
    View,
    plot_ess,
    plot_filter,
    plot_forecast,
    plot_pairs,
    plot_run,
    plot_states,
    plot_traces,
)
from aisle_smc.plots.series import half_exp, mean_parameters, view_of
from aisle_smc.plots.style import future_of, time_of
from aisle_smc.priors import Prior
from aisle_smc.weighted import WeightedDraws

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


def two_modes(n=20000):
    """Uniform draws weighted to 70 % in a wide mode and 30 % in a narrow one."""
    x = np.random.default_rng(3).uniform(-6.0, 6.0, (n, 2))
    wide = norm([-3.0, 2.0], [0.5, 0.8]).logpdf(x).sum(axis=1)
    narrow = norm([3.0, -2.0], 0.3).logpdf(x).sum(axis=1)
    prior = Prior({"a": uniform(-6, 12), "b": uniform(-6, 12)})
    return WeightedDraws(
        names=("a", "b"),
        x=x,
        log_w=np.logaddexp(np.log(0.7) + wide, np.log(0.3) + narrow),
        prior=prior,
    )


class Step(NamedTuple):
    phase: str
    evaluations: int
    log_evidence: float = np.nan
    error: float = np.nan
    ess: float = 1000.0
    beta: float = np.nan
    acceptance: float = np.nan
    khat: float = np.nan
    seconds: float = 1.0
    kernel: str = ""


def fake_run():
    """Two temperatures, two steps at the target, a fit and fresh draws: log-evidence -42.3."""
    move = {"acceptance": 0.3, "kernel": "t-pCN"}
    trace = (
        Step("prior", 1000, beta=0.0, khat=np.inf),
        Step("tempering", 3000, -5.0, 0.1, 900.0, beta=1e-3, **move),
        Step("tempering", 5000, -20.0, 0.2, 950.0, beta=0.1, **move),
        Step("stay", 7000, -42.4, 0.2, 1100.0, beta=1.0, **move),
        Step("stay", 9000, -42.2, 0.15, 2100.0, beta=1.0, **move),
        Step("adapt", 9500, -42.28, 0.06, 700.0, beta=1.0, khat=0.8),
        Step("final", 14000, -42.3, 0.012, 4300.0, beta=1.0, khat=0.3, seconds=5.1),
    )
    return SimpleNamespace(trace=trace)


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
        "run": lambda **k: plot_run(fake_run(), **k),
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


def test_weighted_pairs_are_drawn_at_both_widths_and_twice_the_same(tmp_path):
    draws = two_modes()
    for width in (7.6, 3.9):
        for name in ("a.png", "b.png"):
            plot_pairs(draws, width=width).savefig(tmp_path / name)
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert legend(draws.plot_pairs()) == ["posterior", "prior"]


def held(figure, x, weights):
    """The share of weighted points inside each contour of the first pair, the wide one first."""
    axes = figure.axes[round(len(figure.axes) ** 0.5)]
    (contours,) = (c for c in axes.collections if type(c).__name__ == "QuadContourSet")
    shares = []
    for path in contours.get_paths():
        # The pieces of a level add up, and a hole turns the other way round.
        inside = np.zeros(x.shape[0])
        for piece in path.to_polygons():
            inside += matplotlib.path.Path(piece).contains_points(x)
        shares.append(float(weights @ (inside % 2)))
    return shares


def test_regions_of_weighted_draws_hold_their_share_of_the_weights():
    draws = two_modes()
    assert held(plot_pairs(draws), draws.x, draws.weights) == pytest.approx([0.9, 0.5], abs=0.02)
    # The negative twin: the same draws without their weights.
    equal = WeightedDraws(names=draws.names, x=draws.x, log_w=np.zeros(draws.n))
    shares = held(plot_pairs(equal), draws.x, draws.weights)
    assert np.abs(np.subtract(shares, [0.9, 0.5])).max() > 0.05


def test_regions_of_chains_hold_their_share():
    posterior = fake_posterior()
    x = np.random.default_rng(5).normal(size=(2, 4000, 3))
    posterior.parameters = x
    x = x.reshape(-1, 3)[:, :2]
    weights = np.full(x.shape[0], 1 / x.shape[0])
    assert held(plot_pairs(posterior), x, weights) == pytest.approx([0.9, 0.5], abs=0.02)


def test_histograms_of_weighted_draws_are_densities():
    draws = two_modes()
    figure = plot_pairs(draws)
    bars = [(p.get_x(), p.get_width(), p.get_height()) for p in figure.axes[0].patches]
    low, width, height = np.array(bars).T
    assert float(width @ height) == pytest.approx(1.0, abs=0.01)
    narrow = low > 0.0
    assert float(width[narrow] @ height[narrow]) == pytest.approx(0.3, abs=0.03)
    correlation = [t.get_text() for axes in figure.axes for t in axes.texts]
    expected = draws.covariance[0, 1] / np.prod(draws.sd)
    assert correlation == [f"{expected:+.2f}".replace("-", "\N{MINUS SIGN}")]


def test_a_prior_with_a_pole_does_not_flatten_the_posterior():
    rng = np.random.default_rng(0)
    draws = WeightedDraws(
        names=("rate",),
        x=rng.gamma(2.0, 0.1, (500, 1)),
        log_w=np.zeros(500),
        prior=Prior({"rate": gamma(0.1, scale=0.01)}),
    )
    (axes,) = plot_pairs(draws).axes
    tallest = max(patch.get_height() for patch in axes.patches)
    assert axes.get_ylim()[1] < 2.0 * tallest


def test_weighted_pairs_at_the_edges():
    # One draw has all the weight; others are not even finite.
    x = np.array([[1.0, 2.0], [np.inf, 0.0], [3.0, np.nan]])
    lone = WeightedDraws(names=("a", "b"), x=x, log_w=np.array([0.0, -np.inf, -np.inf]))
    plot_pairs(lone).draw_without_rendering()
    many = WeightedDraws(
        names=[f"p{k}" for k in range(10)],
        x=np.random.default_rng(0).normal(size=(50, 10)),
        log_w=np.zeros(50),
    )
    assert len(plot_pairs(many, width=14.0).axes) == 64


def words(figure):
    """The words of the strip of phases, with the place of each on the axis."""
    return {text.get_text(): text.get_position()[0] for text in figure.axes[0].texts}


def test_a_run_says_what_it_found_and_which_phases_it_had():
    figure = plot_run(fake_run())
    assert titles(figure) == [
        "Log-evidence relative to \N{MINUS SIGN}42.300 ± 0.012 nats",
        "Inverse temperature (the target has 1)",
        "Effective sample size",
        "Acceptance (t-pCN) and k-hat",
    ]
    places = words(figure)
    assert list(places) == ["prior", "tempering", "stay", "adapt", "final"]
    assert list(places.values()) == sorted(places.values())
    assert places["tempering"] == pytest.approx(3000.0)
    assert figure.axes[-1].get_xlabel() == "evaluations of the target, in 5.1 s"
    # What the result stands by comes before the last step.
    kept = fake_run()
    kept.log_evidence, kept.log_evidence_error = -42.2, 0.15
    assert titles(plot_run(kept))[0].endswith("\N{MINUS SIGN}42.20 ± 0.15 nats")


def test_words_of_short_phases_do_not_touch():
    trace = [Step(f"phase {k}", 10 * (k + 1), -1.0, 0.1) for k in range(6)]
    trace.append(Step("the end", 100_000, -1.0, 0.1))
    for width in (7.6, 5.2):
        figure = plot_run(SimpleNamespace(trace=trace), width=width)
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in figure.axes[0].texts]
        assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_the_band_of_a_run_is_two_standard_errors_of_the_target_only():
    evidence = plot_run(fake_run()).axes[1]
    (band,) = (c for c in evidence.collections if c.get_label() == "two standard errors")
    edges = band.get_paths()[0].vertices
    assert edges[:, 0].min() == 7000.0
    first = edges[edges[:, 0] == 7000.0, 1]
    np.testing.assert_allclose([first.min(), first.max()], [-0.1 - 0.4, -0.1 + 0.4], atol=1e-9)
    grey = next(line for line in evidence.lines if line.get_label() == "tempered target")
    assert grey.get_xdata().tolist() == [3000.0, 5000.0, 7000.0]
    low, high = evidence.get_ylim()
    assert low < -0.5
    assert high > 37.3


def test_a_run_without_temperatures_has_no_panel_of_them():
    trace = [
        Step("nested", 100 * k, -10.0 - 400.0 / k, 0.4, 10.0 * k, acceptance=0.3)
        for k in range(1, 200)
    ]
    figure = plot_run(SimpleNamespace(trace=trace))
    assert len(titles(figure)) == 3
    assert "tempered target" not in legend(figure)
    trace = [Step("prior", 10, ess=np.nan)]
    assert titles(plot_run(SimpleNamespace(trace=trace))) == [
        "Log-evidence (not known yet)",
        "Effective sample size",
    ]


def test_a_run_that_has_not_reached_its_target():
    unfinished = SimpleNamespace(trace=fake_run().trace[:3])
    figure = plot_run(unfinished)
    figure.draw_without_rendering()
    assert titles(figure)[0] == "Log-evidence relative to \N{MINUS SIGN}20.00 nats"
    assert "two standard errors" not in legend(figure)


def test_an_empty_trace():
    with pytest.raises(ValueError, match="at least one step; got an empty trace"):
        plot_run(SimpleNamespace(trace=()))


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


def test_means_know_fixed_and_tied_parameters():
    prior = Prior({"a": norm(0, 1), "b": "a", "c": 2.0})
    model = SimpleNamespace(prior=prior, parameter_names=("c", "b", "a"))
    draws = np.array([[[1.0], [3.0]]])
    posterior = SimpleNamespace(model=model, names=("a",), parameters=draws)
    assert mean_parameters(posterior) == {"c": 2.0, "b": 2.0, "a": 2.0}
    posterior = SimpleNamespace(model=model, names=("a",), parameters=draws + 1.0)
    assert mean_parameters(posterior) == {"c": 2.0, "b": 3.0, "a": 3.0}
