"""Models against each other: evidences and scores by model and data set, replicates pooled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aisle_smc.arrays import Floats
from aisle_smc.batch.glance import told

__all__ = [
    "APART",
    "K_HAT",
    "Comparison",
    "Total",
    "column_of",
    "compare",
    "places",
    "pooled_evidence",
    "pooled_score",
]

# From this k-hat on an estimate is not to be relied on, and none of replicates that differ by so
# many standard errors.
K_HAT, APART = 0.7, 4.0
# What says what a task is about, and so which column it stands in.
_SUBJECTS = ("model", "target", "function")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Total:
    """Differences to the reference, summed over the data sets that count.

    Attributes
    ----------
    difference, error : ndarray, shape (models,)
        Sum in nats, and its Monte-Carlo standard error.
    spread : ndarray, shape (models,)
        Standard error of the sum that the differences between data sets suggest, were they
        exchangeable; NaN for fewer than five.
    probability, probability_error : ndarray, shape (models,)
        Posterior probability that this one model made all data sets, under equal priors.
    sets : int
        How many data sets.
    """

    difference: Floats
    error: Floats
    spread: Floats
    probability: Floats
    probability_error: Floats
    sets: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """One measure of several models on several data sets.

    Attributes
    ----------
    kind, measure : str
        Of which tasks, and which of their results.
    models, sets : tuple of str
        What the columns and the rows are.
    value, error : ndarray, shape (sets, models)
        In nats, and standard errors; NaN where nothing is known.
    replicates : ndarray of int, shape (sets, models)
        From how many tasks.
    disagreement : ndarray, shape (sets, models)
        Greatest difference of two replicates by its standard error; 0 for one replicate.
    k_hat : ndarray, shape (sets, models)
        The worst of the replicates; NaN where there is none.
    """

    kind: str
    measure: str
    models: tuple[str, ...]
    sets: tuple[str, ...]
    value: Floats
    error: Floats
    replicates: NDArray[np.int64]
    disagreement: Floats
    k_hat: Floats

    @property
    def doubtful(self) -> NDArray[np.bool_]:
        """Which estimates are not to be relied on, shape (sets, models)."""
        return np.asarray((self.k_hat > K_HAT) | (self.disagreement > APART))

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which data sets are summed over: complete ones without a doubtful estimate."""
        return np.asarray(self.complete & ~self.doubtful.any(axis=1))

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Which data sets have a value for every model, shape (sets,)."""
        return np.asarray(np.isfinite(self.value).all(axis=1))

    @property
    def reference(self) -> int:
        """The model with the highest sum over the data sets that count, or else the first."""
        whole = self.value[self.counted]
        return int(np.argmax(whole.sum(axis=0))) if whole.size else 0

    def differences(self) -> tuple[Floats, Floats]:
        """Return values less those of the reference and their standard errors."""
        k = self.reference
        difference = self.value - self.value[:, [k]]
        error = np.hypot(self.error, self.error[:, [k]])
        error[:, k] = 0.0
        return difference, error

    def probabilities(self) -> tuple[Floats, Floats]:
        """Return posterior model probabilities under equal priors, and their standard errors.

        Returns
        -------
        tuple of ndarray, shape (sets, models)
            NaN on data sets that lack a model.
        """
        value = np.where(self.complete[:, None], self.value, np.nan)
        return _probabilities(value, self.error)

    def total(self) -> Total:
        """Return the sums over the data sets that count."""
        whole = self.counted
        difference, _ = self.differences()
        error = np.sqrt((self.error[whole] ** 2).sum(axis=0))
        k, count = self.reference, int(whole.sum())
        probability, probability_error = _probabilities(
            difference[whole].sum(axis=0)[None], error[None]
        )
        against = np.hypot(error, error[k])
        against[k] = 0.0
        spread = np.full(len(self.models), np.nan)
        if count >= 5:
            spread = difference[whole].std(axis=0, ddof=1) * np.sqrt(count)
        return Total(
            difference=difference[whole].sum(axis=0),
            error=against,
            spread=spread,
            probability=probability[0],
            probability_error=probability_error[0],
            sets=count,
        )


def pooled_evidence(value: Floats, error: Floats) -> tuple[float, float]:
    """Return one log-evidence from replicates: the log of the mean evidence, and its error.

    Notes
    -----
    Estimates of an evidence are unbiased before the logarithm is taken, so that is where they
    are averaged; the error follows by the delta method from the errors of the replicates.
    """
    top = value.max()
    if not np.isfinite(top):
        return float(top), float("nan")
    w = np.exp(value - top)
    share = w / w.sum()
    kept = share > 0
    return float(top + np.log(w.mean())), float(np.sqrt(((share * error)[kept] ** 2).sum()))


def pooled_score(value: Floats, error: Floats) -> tuple[float, float]:
    """Return the mean score of replicates and its error."""
    return float(value.mean()), float(np.sqrt((error**2).sum()) / value.shape[0])


_MEASURES: dict[str, Callable[[Floats, Floats], tuple[float, float]]] = {
    "log_evidence": pooled_evidence,
    "score": pooled_score,
}


def compare(rows: Iterable[Mapping[str, Any]], kind: str, measure: str) -> Comparison | None:
    """Put the results of all tasks of one kind together.

    Parameters
    ----------
    rows : iterable of mapping
        As :meth:`aisle_smc.batch.Store.rows` returns them.
    kind : str
        Which tasks.
    measure : str
        ``"log_evidence"`` or ``"score"``; its standard error is ``{measure}_error``.

    Returns
    -------
    Comparison or None
        None if no task has the measure.
    """
    cells: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for row in rows:
        one = row["outcome"].get(measure)
        if row["kind"] != kind or row["status"] != "done" or not isinstance(one, int | float):
            continue
        if one == one:
            said, tail = (row["outcome"].get(key) for key in (f"{measure}_error", "khat"))
            error_of, k = (
                float(v) if isinstance(v, int | float) else float("nan") for v in (said, tail)
            )
            cells.setdefault(column_of(row), []).append((float(one), error_of, k))
    if not cells:
        return None
    models = places(model for model, _ in cells)
    sets = places(name for _, name in cells)
    shape = (len(sets), len(models))
    value, error = np.full(shape, np.nan), np.full(shape, np.nan)
    replicates, disagreement = np.zeros(shape, dtype=np.int64), np.zeros(shape)
    k_hat = np.full(shape, np.nan)
    for (model, name), found in cells.items():
        at = sets[name], models[model]
        values, errors, tails = np.array(found).T
        if not np.isnan(tails).all():
            k_hat[at] = np.nanmax(tails)
        value[at], error[at] = _MEASURES[measure](values, errors)
        replicates[at] = len(found)
        disagreement[at] = _disagreement(values, errors)
    return Comparison(
        kind=kind,
        measure=measure,
        models=tuple(models),
        sets=tuple(sets),
        value=value,
        error=error,
        replicates=replicates,
        disagreement=disagreement,
        k_hat=k_hat,
    )


def column_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a task is about, and everything else that tells it from the others.

    Examples
    --------
    >>> labels = {"model": "leverage", "data": "1986", "n": 100, "replicate": 1}
    >>> column_of({"kind": "fit", "labels": labels})
    ('leverage', '1986, n=100')
    """
    labels = {name: held for name, held in row["labels"].items() if name != "replicate"}
    subject = next((name for name in _SUBJECTS if name in labels), None)
    model = str(labels.pop(subject)) if subject else row["kind"]
    # A function that computes evidences of models is no model itself.
    labels.pop("function", None)
    data = [str(labels.pop("data"))] if "data" in labels else []
    return model, ", ".join([*data, *([told(labels)] if labels else [])])


def places(names: Iterable[str]) -> dict[str, int]:
    """Return each name once, with its place in the order in which they come first."""
    return {name: k for k, name in enumerate(dict.fromkeys(names))}


def _probabilities(value: Floats, error: Floats) -> tuple[Floats, Floats]:
    """Return the softmax of every row and its error, by the delta method."""
    with np.errstate(invalid="ignore"):
        w = np.exp(value - value.max(axis=1, keepdims=True))
    p = w / w.sum(axis=1, keepdims=True)
    # dp_m / dv_k = p_m (1{m = k} - p_k)
    gradient = p[:, :, None] * (np.eye(p.shape[1])[None] - p[:, None, :])
    return p, np.sqrt(((gradient * error[:, None, :]) ** 2).sum(axis=2))


def _disagreement(value: Floats, error: Floats) -> float:
    """Return the greatest difference of two values by its standard error."""
    if value.shape[0] < 2 or not np.isfinite(value).all() or not (error > 0).all():
        return 0.0
    apart = np.abs(value[:, None] - value[None, :])
    return float((apart / np.hypot(error[:, None], error[None, :])).max())
