"""Models against each other: evidences and scores by model and data set, replicates pooled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from aisle_smc.arrays import Floats
from aisle_smc.batch.glance import told

__all__ = [
    "ESS_LEAST",
    "K_HAT",
    "R_HAT_MOST",
    "Comparison",
    "Total",
    "column_of",
    "compare",
    "number",
    "places",
    "pooled_evidence",
    "pooled_score",
]

# Above this k-hat an importance sampling estimate is not to be relied on.
K_HAT = 0.7
# Honest replicates differ as much as is called too much in so few of all studies: as rarely as a
# normal variable goes beyond four standard errors.
CHANCE = 6.3e-5
# Below so many effective draws a posterior mean is known to no better than a third of the
# posterior standard deviation; above that R-hat, the limit for convergence before it was made
# stricter (Gelman and Rubin, 1992), chains have not seen the same distribution.  Between these
# limits and those of today what comes straight from chains is poor, but not wrong.
ESS_LEAST, R_HAT_MOST = 10.0, 1.1
# What says what a task is about, and so which column it stands in.
_SUBJECTS = ("model", "target", "function")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Total:
    """Differences to the reference, summed over the data sets that count.

    Attributes
    ----------
    difference, error : ndarray, shape (models,)
        Sum in nats, and its Monte-Carlo standard error; NaN for models that are left out.
    spread : ndarray, shape (models,)
        Standard error of the sum that the differences between data sets suggest, were they
        exchangeable; NaN for fewer than five, and where a difference is infinite.
    probability, probability_error : ndarray, shape (models,)
        Posterior probability that this one model made all data sets, under equal priors; NaN for
        models that are left out.
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
        In nats, and standard errors; NaN where nothing is known.  A value of -inf is known.
    replicates : ndarray of int, shape (sets, models)
        From how many tasks.
    chance : ndarray, shape (sets, models)
        Probability that replicates differ as much, were their errors right; 0 where a finite
        value meets an infinite one, NaN where it cannot be judged.
    k_hat : ndarray, shape (sets, models)
        The worst of the replicates; NaN where there is none.
    unconverged : ndarray of bool, shape (sets, models)
        Whether the value comes straight from chains, and those of a replicate did not converge.
    """

    kind: str
    measure: str
    models: tuple[str, ...]
    sets: tuple[str, ...]
    value: Floats
    error: Floats
    replicates: NDArray[np.int64]
    chance: Floats
    k_hat: Floats
    unconverged: NDArray[np.bool_]

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Where it can be said whether replicates agree, shape (sets, models)."""
        return np.asarray(~np.isnan(self.chance))

    @property
    def disagree(self) -> NDArray[np.bool_]:
        """Where replicates differ by more than their errors explain, shape (sets, models)."""
        # Divided among the cells, or one of many would be found by chance.
        return np.asarray(self.chance < CHANCE / max(int(self.judged.sum()), 1))

    @property
    def doubtful(self) -> NDArray[np.bool_]:
        """Which estimates are not to be relied on, shape (sets, models)."""
        return np.asarray((self.k_hat > K_HAT) | self.disagree | self.unconverged)

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which models are compared, shape (models,).

        A model without an estimate to be relied on on most data sets is left out, rather than
        those data sets; none is if fewer than two would remain.
        """
        poor = self.doubtful | ~(self.value < np.inf)
        kept = np.asarray(poor.mean(axis=0) <= 0.5)
        return kept if kept.sum() >= 2 else np.ones_like(kept)

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Which data sets have a value for every model that is kept, shape (sets,)."""
        return np.asarray((self.value[:, self.kept] < np.inf).all(axis=1))

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which data sets are summed over: complete ones without a doubtful estimate."""
        return np.asarray(self.complete & ~self.doubtful[:, self.kept].any(axis=1))

    @property
    def reference(self) -> int:
        """The model with the highest sum over the data sets that count, or else the first."""
        kept = np.flatnonzero(self.kept)
        return int(kept[np.argmax(self.value[self.counted][:, kept].sum(axis=0))])

    @property
    def ranked(self) -> bool:
        """Whether the reference is the best: there are sums, and not all of them -inf."""
        best = self.value[self.counted, self.reference]
        return bool(best.size and np.isfinite(best).all())

    def differences(self) -> tuple[Floats, Floats]:
        """Return values less those of the reference and their standard errors.

        Returns
        -------
        tuple of ndarray, shape (sets, models)
            NaN where one of the two is not known, or both are -inf.
        """
        k = self.reference
        with np.errstate(invalid="ignore"):
            difference = self.value - self.value[:, [k]]
        error = np.hypot(self.error, self.error[:, [k]])
        error[:, k] = 0.0
        return difference, error

    def probabilities(self) -> tuple[Floats, Floats]:
        """Return posterior model probabilities under equal priors, and their standard errors.

        Returns
        -------
        tuple of ndarray, shape (sets, models)
            NaN on data sets that lack a model or have a doubtful estimate, and for models that
            are left out.
        """
        p, error = np.full(self.value.shape, np.nan), np.full(self.value.shape, np.nan)
        at = np.ix_(self.counted, self.kept)
        p[at], error[at] = _probabilities(self.value[at], self.error[at])
        return p, error

    def total(self) -> Total:
        """Return the sums over the data sets that count."""
        kept, k, sets = self.kept, self.reference, int(self.counted.sum())
        held = self.differences()[0][self.counted]
        noise = np.sqrt((self.error[self.counted] ** 2).sum(axis=0))
        with np.errstate(invalid="ignore"):
            difference = np.where(kept, held.sum(axis=0), np.nan)
        error = np.where(kept, np.hypot(noise, noise[k]), np.nan)
        error[k] = 0.0
        spread, p, p_error = (np.full(len(self.models), np.nan) for _ in range(3))
        if sets >= 5:
            finite = kept & np.isfinite(held).all(axis=0)
            spread[finite] = held[:, finite].std(axis=0, ddof=1) * np.sqrt(sets)
        (p[kept],), (p_error[kept],) = _probabilities(difference[kept][None], noise[kept][None])
        return Total(
            difference=difference,
            error=error,
            spread=spread,
            probability=p,
            probability_error=p_error,
            sets=sets,
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
    cells: dict[tuple[str, str], list[tuple[float, float, float, bool]]] = {}
    for row in rows:
        if row["kind"] != kind or row["status"] != "done":
            continue
        value, error, k_hat = (number(row, key) for key in (measure, f"{measure}_error", "khat"))
        if value == value:
            # An importance sampling estimate answers for itself, by its k-hat.
            chains = kind == "score" or (kind == "fit" and k_hat != k_hat)
            stuck = number(row, "ess") < ESS_LEAST or number(row, "r_hat") > R_HAT_MOST
            cells.setdefault(column_of(row), []).append((value, error, k_hat, chains and stuck))
    if not cells:
        return None
    models = places(model for model, _ in cells)
    sets = places(name for _, name in cells)
    shape = (len(sets), len(models))
    values, errors, chance, tails = (np.full(shape, np.nan) for _ in range(4))
    replicates, unconverged = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=bool)
    for (model, name), found in cells.items():
        at = sets[name], models[model]
        one, its_error, its_tail, stuck_ones = np.array(found).T
        values[at], errors[at] = _MEASURES[measure](one, its_error)
        replicates[at] = len(found)
        chance[at] = _chance(one, its_error)
        tails[at] = np.fmax.reduce(its_tail)
        unconverged[at] = stuck_ones.any()
    return Comparison(
        kind=kind,
        measure=measure,
        models=tuple(models),
        sets=tuple(sets),
        value=values,
        error=errors,
        replicates=replicates,
        chance=chance,
        k_hat=tails,
        unconverged=unconverged,
    )


def number(row: Mapping[str, Any], key: str) -> float:
    """Return one number of a task's results; NaN if it has none of that name."""
    value = row["outcome"].get(key)
    return float(value) if isinstance(value, int | float) else float("nan")


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
    # What is impossible has no error that is known, and needs none.
    noise = np.where(gradient == 0, 0.0, gradient * error[:, None, :])
    return p, np.sqrt((noise**2).sum(axis=2))


def _chance(value: Floats, error: Floats) -> float:
    """Return the probability that replicates differ as much as these, were their errors right.

    Notes
    -----
    Cochran's Q, the sum of squares about the mean with weights 1 / error^2, each divided by its
    error, has a chi-square distribution with R - 1 degrees of freedom for R honest replicates.

    References
    ----------
    Cochran (1954), The combination of estimates from different experiments.
    """
    finite = np.isfinite(value)
    if finite.any() and not finite.all():
        return 0.0
    if value.shape[0] < 2 or not finite.all() or not ((error > 0) & (error < np.inf)).all():
        return float("nan")
    w = (error.min() / error) ** 2
    with np.errstate(over="ignore"):
        q = (((value - (w * value).sum() / w.sum()) / error) ** 2).sum()
    return float(chdtrc(value.shape[0] - 1, q))
