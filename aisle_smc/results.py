"""Results as labelled arrays: xarray and ArviZ conventions, for plots, files and other tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from aisle_kernels._jit import specialised
from numba.extending import is_jitted

from aisle_smc.arrays import Array, Floats
from aisle_smc.streams import stream

__all__ = ["filter_dataset", "posterior_datatree", "weighted_datatree"]

# Trajectories of interpreted models that are observed again, spread over all chains.
INTERPRETED_DRAWS = 200


def filter_dataset(result: Any) -> Any:
    """Return what a particle filter found as an ``xarray.Dataset``.

    Parameters
    ----------
    result : FilterResult
        What :func:`aisle_smc.ssm.particle_filter` returned.

    Returns
    -------
    xarray.Dataset
        Dimensions ``time``, and ``state`` and ``observation`` where these have several components,
        and ``quantile``.  Log-evidences are in nats.

    Raises
    ------
    ImportError
        If xarray is not installed.
    """
    xarray = _xarray()
    model = result.model
    state = ["state"] if result.mean.ndim == 2 else []
    observation = ["observation"] if result.y.ndim == 2 else []
    variables = {
        "mean": (["time", *state], result.mean),
        "variance": (["time", *state], result.variance),
        "quantiles": (["time", "quantile", *state], result.quantiles),
        "ess": (["time"], result.ess),
        "resampled": (["time"], np.asarray(result.resampled)),
        "log_evidence_increments": (["time"], result.log_evidence_increments),
        "observed": (["time", *observation], result.y),
    }
    coords: dict[str, Any] = {
        "time": np.arange(result.y.shape[0]),
        "quantile": np.array(result.quantile_levels, dtype=np.float64),
    }
    if state:
        coords["state"] = list(model.state_names)
    if observation:
        coords["observation"] = list(model.observation_names)
    attrs = {
        **_origin(model),
        "log_evidence": float(result.log_evidence),
        "log_evidence_error": float(result.log_evidence_error),
        "particles": int(result.n),
    }
    for name in model.parameter_names:
        attrs[f"parameter_{name}"] = np.asarray(getattr(result.params, name)).tolist()
    return xarray.Dataset(variables, coords=coords, attrs=attrs)


def posterior_datatree(posterior: Any) -> Any:
    """Return a posterior as an ``xarray.DataTree`` in ArviZ's conventions.

    Parameters
    ----------
    posterior : Posterior
        What :func:`aisle_smc.ssm.pmmh` returned.

    Returns
    -------
    xarray.DataTree
        Groups ``posterior`` (parameters and states), ``posterior_predictive`` (if the model has
        ``observe``: one observation of each state kept), ``log_likelihood`` (for each time given
        those before), ``sample_stats``, ``observed_data`` and ``constant_data`` (covariates), with
        dimensions ``chain``, ``draw`` and ``time``.

    Raises
    ------
    ImportError
        If xarray is not installed.

    Notes
    -----
    Predictions of interpreted models are drawn for a subset of the draws.
    """
    xarray = _xarray()
    model = posterior.model
    chains, draws = posterior.parameters.shape[:2]
    length = posterior.y.shape[0]
    coords = {"chain": np.arange(chains), "draw": np.arange(draws), "time": np.arange(length)}
    sample = ["chain", "draw"]
    drawn = {
        name: (sample, posterior.parameters[..., k]) for k, name in enumerate(posterior.names)
    }
    for name, values in _components(model.state_names, posterior.states, 3):
        # A state named like a parameter keeps its name and a mark.
        drawn[f"{name}_state" if name in drawn else name] = ([*sample, "time"], values)
    log_prior, log_evidences = posterior.log_prior, posterior.log_evidences
    stats = {
        "lp": (sample, log_prior + log_evidences),
        "log_prior": (sample, log_prior),
        "log_evidence": (sample, log_evidences),
        "accepted": (sample, posterior.accepted),
    }
    label = model.observation_names[0] if posterior.y.ndim == 1 else "y"
    groups: dict[str, Any] = {
        "posterior": (drawn, coords),
        "log_likelihood": ({label: ([*sample, "time"], posterior.log_likelihood)}, coords),
        "sample_stats": (stats, coords),
        "observed_data": (
            {
                name: (["time"], values)
                for name, values in _components(model.observation_names, posterior.y, 1)
            },
            {"time": coords["time"]},
        ),
    }
    if model.observe is not None:
        chosen, seen = _predictive(posterior)
        groups["posterior_predictive"] = (
            {
                name: ([*sample, "time"], values)
                for name, values in _components(model.observation_names, seen, 3)
            },
            {**coords, "draw": chosen},
        )
    if model.covariates is not None:
        rows = model.covariate_rows(posterior.u, length)
        names = _covariate_names(model)
        groups["constant_data"] = (
            {name: (["time"], values) for name, values in _components(names, rows, 1)},
            {"time": coords["time"]},
        )
    origin = _origin(model)
    tree = {
        name: xarray.Dataset(
            variables,
            coords={k: v for k, v in labels.items() if k in _dimensions(variables)},
            attrs=origin,
        )
        for name, (variables, labels) in groups.items()
    }
    tree["/"] = xarray.Dataset(attrs={**origin, **_attributes(posterior)})
    return xarray.DataTree.from_dict(tree)


def weighted_datatree(draws: Any, n: int | None = None, *, seed: int = 0) -> Any:
    """Return weighted draws as an ``xarray.DataTree`` that ArviZ takes as it is.

    Parameters
    ----------
    draws : WeightedDraws
        The sample.
    n : int, optional
        How many equally weighted draws to make of it; by default the effective sample size, but at
        least four, so that what ArviZ calls ESS is no larger than what the weights are worth.
    seed : int
        Of the resampling.

    Returns
    -------
    xarray.DataTree
        * ``posterior``: equally weighted draws of parameters and blobs, with dimensions ``chain``
          (one) and ``draw``; in random order, some of them repeats.
        * ``sample_stats``: for each of them ``particle``, the weighted draw it is, ``log_weight``,
          which is for information (the draws have been weighted by it), and ``lp``, where the
          density is known.
        * ``weighted_posterior`` and ``weighted_sample_stats``: all weighted draws, with dimension
          ``particle``; the latter holds ``log_weight``, normalised, and ``lp``.

    Raises
    ------
    ImportError
        If xarray is not installed.
    ValueError
        If a parameter has the name of a dimension.

    Notes
    -----
    Blobs of a dtype that is not a number stay out of ``posterior``: averages would fail on them.
    """
    xarray = _xarray()
    taken = [name for name in draws.names if name in ("chain", "draw", "particle", "sample")]
    if taken:
        raise ValueError(
            f"the parameter {taken[0]!r} has the name of a dimension of ArviZ; rename it"
        )
    n = max(round(draws.ess), 4) if n is None else n
    rows = draws.indices(n, seed)
    values = {name: draws.x[:, k] for k, name in enumerate(draws.names)}
    blobs = _blobs(draws)
    stats = {"log_weight": draws.log_w}
    if draws.log_density is not None:
        stats["lp"] = draws.log_density
    equal = {**values, **{k: v for k, v in blobs.items() if v.dtype.kind in "fiub"}}
    groups: dict[str, tuple[dict[str, Array], bool]] = {
        "posterior": (equal, True),
        "sample_stats": ({"particle": np.arange(draws.n), **stats}, True),
        "weighted_posterior": ({**values, **blobs}, False),
        "weighted_sample_stats": (stats, False),
    }
    origin: dict[str, Any] = {**_library(), "ess": float(draws.ess), "khat": float(draws.khat)}
    if draws.prior is not None:
        origin["prior"] = repr(draws.prior)
    tree = {"/": xarray.Dataset(attrs=origin)}
    for group, (variables, resampled) in groups.items():
        sample = ["chain", "draw"] if resampled else ["particle"]
        tree[group] = xarray.Dataset(
            {
                name: (
                    [*sample, *(f"{name}_dim_{k}" for k in range(value.ndim - 1))],
                    value[rows][None] if resampled else value,
                )
                for name, value in variables.items()
            },
            coords={"chain": [0], "draw": np.arange(n)} if resampled else {},
            attrs=_library(),
        )
    return xarray.DataTree.from_dict(tree)


def _blobs(draws: Any) -> dict[str, Array]:
    """Return the blobs by name, each field of a structured array by its own."""
    blobs = draws.blobs
    if blobs is None:
        return {}
    fields = (
        {"blob": blobs} if blobs.dtype.names is None else {k: blobs[k] for k in blobs.dtype.names}
    )
    # A blob named like a parameter keeps its name and a mark.
    return {f"{k}_blob" if k in draws.names else k: value for k, value in fields.items()}


def _xarray() -> Any:
    try:
        import xarray
    except ImportError as error:
        raise ImportError(
            f"labelled arrays need xarray ({error}); install it: pip install 'aisle-smc[report]'"
        ) from None
    return xarray


def _dimensions(variables: dict[str, Any]) -> set[str]:
    return {name for dimensions, _ in variables.values() for name in dimensions}


def _library() -> dict[str, str]:
    from aisle_smc.version import __version__

    return {"inference_library": "aisle_smc", "inference_library_version": __version__}


def _origin(model: Any) -> dict[str, str]:
    return {**_library(), "model": model.name or type(model).__name__}


def _attributes(posterior: Any) -> dict[str, Any]:
    attrs: dict[str, Any] = {
        "particles": int(posterior.n),
        "seed": int(posterior.seed),
        "sampling_time": float(posterior.seconds),
        "prior": repr(posterior.model.prior),
        "acceptance": posterior.acceptance.tolist(),
        "degenerate": posterior.degenerate.tolist(),
    }
    if posterior.evidence is not None:
        attrs["log_evidence"] = float(posterior.evidence.value)
        attrs["log_evidence_error"] = float(posterior.evidence.error)
        attrs["log_evidence_khat"] = float(posterior.evidence.khat)
    return attrs


def _components(names: Sequence[str], values: Array, ndim: int) -> list[tuple[str, Array]]:
    """Return each component as an array of `ndim` dimensions."""
    if values.ndim == ndim:
        return [(names[0], values)]
    return [(name, values[..., k]) for k, name in enumerate(names)]


def _covariate_names(model: Any) -> Sequence[str]:
    layout = model._layouts[2]
    if layout.fields is not None:
        return tuple(layout.fields._fields)
    return ["u"] if layout.width == 0 else [f"u[{k}]" for k in range(layout.width)]


def _predictive(posterior: Any) -> tuple[Array, Array]:
    """Draw an observation of every state kept; return which draws, and the observations."""
    model, y = posterior.model, posterior.y
    u = model.covariate_rows(posterior.u, y.shape[0])
    prior = model.prior
    place = [prior.names.index(name) for name in model.parameter_names]
    values = prior.with_constants(posterior.parameters)[..., place]
    chains, draws = posterior.parameters.shape[:2]
    # The functions do not depend on the parameters, only on their kind.
    observe = model.bind(model.params(*values[0, 0].tolist()), y, u).population.observe
    observe_path = _path_observer(observe)
    count = draws if is_jitted(observe) else min(draws, max(INTERPRETED_DRAWS // chains, 1))
    chosen = np.unique(np.linspace(0, draws - 1, count).astype(int))
    out = np.empty((chains, chosen.size, *y.shape))
    seen = np.empty(y.shape)
    for c in range(chains):
        rng = stream(posterior.seed, 2**31, 2, c)
        for row, k in enumerate(chosen):
            path = np.asarray(posterior.states[c, k], dtype=np.float64)
            observe_path(rng, model.params(*values[c, k].tolist()), y, u, path, seen)
            out[c, row] = seen
    return chosen, out


def _path_observer(observe: Callable[..., None]) -> Callable[..., None]:
    """Return a function that observes one trajectory, compiled if the model is."""

    def observe_path(
        rng: np.random.Generator, p: Any, y: Floats, u: Floats, x: Floats, out: Floats
    ) -> None:
        nothing = np.full_like(y[:1], np.nan)
        for t in range(x.shape[0]):
            before = max(t - 1, 0)
            y_prev = y[before : before + 1] if t > 0 else nothing
            observe(rng, t, p, y_prev, u, x[t : t + 1], x[before : before + 1], out[t : t + 1])

    return specialised(observe_path) if is_jitted(observe) else observe_path
