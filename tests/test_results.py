"""Results as labelled arrays: ArviZ's names, every group, and files that read back the same."""

from __future__ import annotations

import math
import sys
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from aisle_smc.results import filter_dataset, posterior_datatree
from aisle_smc.ssm.filters import particle_filter
from aisle_smc.ssm.math import normal_logpdf
from aisle_smc.ssm.model import StateSpaceModel
from aisle_smc.ssm.pmmh import pmmh
from aisle_smc.ssm.vector import VectorModel
from tests.oracles.nile_grid import MODEL, Y

SHORT = Y[:15]


class Params(NamedTuple):
    drift: float
    level: float


class State(NamedTuple):
    level: float
    speed: float


class Seen(NamedTuple):
    here: float
    there: float


def initial(rng):
    return State(rng.normal(), rng.normal())


def transition(rng, x, p, u):
    return State(x.level + x.speed + p.drift * u, rng.normal(0.9 * x.speed, p.level))


def log_observation(y, x):
    return normal_logpdf(y.here, x.level, 1.0), normal_logpdf(y.there, x.speed, 1.0)


def observe(rng, x, y_prev):
    # Missing at time 0 only: what came before is handed over.
    shift = 0.0 if math.isnan(y_prev.here) else 100.0
    return Seen(rng.normal(x.level + shift, 0.01), rng.normal(x.speed, 0.01))


WIDE = StateSpaceModel(
    params=Params,
    initial=initial,
    transition=transition,
    log_observation=log_observation,
    observe=observe,
    state=State,
    observation=Seen,
    covariates=float,
    prior={"level": stats.gamma(2.0, scale=0.3), "drift": stats.norm(0.0, 1.0)},
    name="two of everything",
)
U = np.linspace(0.0, 1.0, 9)


@cache
def wide():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(9, 2))
    y[3, 1] = np.nan
    return pmmh(WIDE, y, 20, u=U, draws=12, tune=10, chains=2, progress=False)


@cache
def narrow():
    return pmmh(MODEL, SHORT, 20, draws=300, tune=50, chains=2, progress=False)


def test_narrow_tree():
    tree = posterior_datatree(narrow())
    assert set(tree.children) == {
        "posterior",
        "posterior_predictive",
        "log_likelihood",
        "sample_stats",
        "observed_data",
    }
    assert set(tree.posterior.data_vars) == {"noise", "level", "x"}
    assert tree.posterior["x"].dims == ("chain", "draw", "time")
    assert tree.log_likelihood["y"].dims == ("chain", "draw", "time")
    assert tree.observed_data["y"].dims == ("time",)
    np.testing.assert_array_equal(tree.posterior["noise"], narrow()["noise"])
    np.testing.assert_allclose(
        tree.sample_stats["lp"],
        tree.log_likelihood["y"].sum("time") + tree.sample_stats["log_prior"],
    )
    assert tree.attrs["model"] == "local level"
    assert tree.attrs["particles"] == 20


def test_predictions_are_observations_of_the_states():
    tree = narrow().to_arviz()
    error = tree.posterior_predictive["y"] - tree.posterior["x"]
    z = (error / tree.posterior["noise"]).to_numpy().reshape(-1)
    assert abs(z.mean()) < 4.0 / math.sqrt(z.size)
    assert abs((z**2).mean() - 1.0) < 4.0 * math.sqrt(2.0 / z.size)
    again = narrow().to_arviz()
    assert again.posterior_predictive.equals(tree.posterior_predictive)


def test_wide_tree():
    tree = wide().to_arviz()
    # A state and a parameter are both called level.
    assert set(tree.posterior.data_vars) == {"drift", "level", "level_state", "speed"}
    assert tree.posterior["level"].dims == ("chain", "draw")
    assert tree.posterior["level_state"].dims == ("chain", "draw", "time")
    np.testing.assert_array_equal(tree.posterior["speed"], wide().states[..., 1])
    assert set(tree.posterior_predictive.data_vars) == {"here", "there"}
    assert set(tree.observed_data.data_vars) == {"here", "there"}
    np.testing.assert_array_equal(tree.constant_data["u"], U)
    shift = tree.posterior_predictive["here"] - tree.posterior["level_state"]
    shift = shift.median(("chain", "draw")).to_numpy()
    assert abs(shift[0]) < 1.0
    assert np.all(np.abs(shift[1:] - 100.0) < 1.0)


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
@pytest.mark.parametrize("which", [narrow, wide])
def test_file_reads_back_the_same(tmp_path, engine, which):
    import xarray

    pytest.importorskip({"netcdf4": "netCDF4", "h5netcdf": "h5py"}[engine])
    tree = which().to_arviz()
    tree.to_netcdf(tmp_path / "posterior.nc", engine=engine)
    with xarray.open_datatree(tmp_path / "posterior.nc", engine=engine) as back:
        for name, group in tree.children.items():
            for variable in group.data_vars:
                np.testing.assert_array_equal(back[name][variable], group[variable])
        assert back.attrs["inference_library"] == "aisle_smc"


def test_arviz_reads_it():
    import arviz_stats

    table = arviz_stats.summary(narrow().to_arviz(), var_names=["noise", "level"])
    assert list(table.index) == ["noise", "level"]


def test_evidence_is_written_down():
    tree = narrow().with_evidence(20).to_arviz()
    assert np.isfinite(tree.attrs["log_evidence"])
    assert "log_evidence" not in narrow().to_arviz().attrs


def test_interpreted_model_predicts_a_few_draws():
    class Sd(NamedTuple):
        sd: float

    model = VectorModel(
        params=Sd,
        initial=lambda rng, n: rng.normal(size=n),
        transition=lambda rng, x, p: rng.normal(x, p.sd),
        log_observation=lambda y, x: -0.5 * (y - x) ** 2,
        observe=lambda rng, x: rng.normal(x, 1.0),
        prior={"sd": stats.gamma(2.0, scale=0.5)},
    )
    posterior = pmmh(model, np.zeros(2), 4, draws=250, tune=0, chains=2, progress=False)
    tree = posterior.to_arviz()
    assert tree.posterior_predictive.sizes == {"chain": 2, "draw": 100, "time": 2}
    assert tree.posterior_predictive["draw"].to_numpy()[[0, -1]].tolist() == [0, 249]


def test_filter_dataset(tmp_path):
    result = particle_filter(MODEL, {"noise": 120.0, "level": 40.0}, SHORT, 100)
    data = filter_dataset(result)
    assert data["mean"].dims == ("time",)
    assert data["quantiles"].dims == ("time", "quantile")
    assert data["quantile"].to_numpy().tolist() == [0.05, 0.5, 0.95]
    assert float(data["log_evidence_increments"].sum()) == pytest.approx(result.log_evidence)
    assert data.attrs["parameter_noise"] == 120.0
    data.to_netcdf(tmp_path / "filter.nc")
    assert result.to_xarray().equals(data)


def test_filter_dataset_of_several_components(tmp_path):
    y = np.zeros((9, 2))
    data = particle_filter(WIDE, [0.1, 0.2], y, 50, u=U).to_xarray()
    assert data["mean"].dims == ("time", "state")
    assert data["quantiles"].dims == ("time", "quantile", "state")
    assert data["state"].to_numpy().tolist() == ["level", "speed"]
    assert data["observation"].to_numpy().tolist() == ["here", "there"]
    data.to_netcdf(tmp_path / "filter.nc")


def test_missing_xarray_is_said_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match=r"aisle-smc\[report\]"):
        posterior_datatree(narrow())
