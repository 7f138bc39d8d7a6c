"""How far to trust the results of a study: diagnostics by model and data set, and in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.batch.comparison import APART, K_HAT, Comparison, column_of, places
from aisle_smc.report.judgement import Finding

__all__ = ["Trust", "judge_study", "trust_of"]

R_HAT, ESS = 1.01, 100.0
# Where colours begin: a k-hat or an effective sample size that gives no cause for thought.
CALM_K_HAT, CALM_ESS = 0.2, 1000.0
NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trust:
    """The worst k-hat and the least effective sample size of the replicates of each cell.

    Attributes
    ----------
    kind : str
        Of which tasks.
    models, sets : tuple of str
        Columns and rows.
    k_hat, ess : ndarray, shape (sets, models)
        NaN where they are not known.
    """

    kind: str
    models: tuple[str, ...]
    sets: tuple[str, ...]
    k_hat: Floats
    ess: Floats

    @property
    def has_k_hat(self) -> bool:
        """Whether tasks of this kind have a k-hat."""
        return bool(np.isfinite(self.k_hat).any())

    @property
    def heat_of_k_hat(self) -> Floats:
        """How bad a k-hat is, 0 to 1 and, beyond its limit, more."""
        return np.asarray(np.maximum((self.k_hat - CALM_K_HAT) / (K_HAT - CALM_K_HAT), 0.0))

    @property
    def heat_of_ess(self) -> Floats:
        """How bad an effective sample size is, 0 to 1 and, beyond its limit, more."""
        with np.errstate(divide="ignore"):
            logs = np.log(CALM_ESS / self.ess) / np.log(CALM_ESS / ESS)
        return np.asarray(np.maximum(logs, 0.0))

    @property
    def words(self) -> str:
        """What colours mean."""
        text = f"effective sample sizes below {ESS:.0f}"
        if self.has_k_hat:
            text = f"k-hats above {K_HAT} and {text}"
        return (
            f"The worst of the replicates. The warmer the ground, the less a number is to be "
            f"relied on; {text} are marked."
        )


def trust_of(rows: Iterable[Mapping[str, Any]]) -> list[Trust]:
    """Return the diagnostics of each kind of task that has some.

    Parameters
    ----------
    rows : iterable of mapping
        As :meth:`aisle_smc.batch.Store.rows` returns them.
    """
    cells: dict[str, dict[tuple[str, str], list[tuple[float, float]]]] = {}
    for row in rows:
        pair = _number(row, "khat"), _number(row, "ess")
        if row["status"] == "done" and np.isfinite(pair).any():
            cells.setdefault(row["kind"], {}).setdefault(column_of(row), []).append(pair)
    found = []
    for kind, held in cells.items():
        models = places(model for model, _ in held)
        sets = places(name for _, name in held)
        k_hat, ess = (np.full((len(sets), len(models)), np.nan) for _ in range(2))
        for (model, name), pairs in held.items():
            at = sets[name], models[model]
            k, n = np.array(pairs).T
            k_hat[at] = k.max() if np.isfinite(k).all() else np.nan
            ess[at] = n.min() if np.isfinite(n).all() else np.nan
        found.append(
            Trust(kind=kind, models=tuple(models), sets=tuple(sets), k_hat=k_hat, ess=ess)
        )
    return found


def judge_study(
    rows: Sequence[Mapping[str, Any]], comparisons: Iterable[Comparison]
) -> tuple[Finding, ...]:
    """Look at what can go wrong with the tasks of a study, and say it in sentences.

    Returns
    -------
    tuple of Finding
        Failures, k-hats, effective sample sizes, agreement of chains and of replicates.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao and Gabry (2024), for the limit of k-hat; Vehtari, Gelman,
    Simpson, Carpenter and Burkner (2021), for that of R-hat.
    """
    done = [row for row in rows if row["status"] == "done"]
    failed = [row for row in rows if row["status"] == "failed"]
    findings = [
        Finding(good=False, text=f"{_many(failed, rows)} failed.")
        if failed
        else Finding(good=True, text="No task has failed.")
    ]
    for key, words, limit, above in (
        ("khat", "a k-hat", K_HAT, True),
        ("ess", "an effective sample size", ESS, False),
        ("r_hat", "an R-hat", R_HAT, True),
    ):
        have = [row for row in done if np.isfinite(_number(row, key))]
        if not have:
            continue
        bad = [row for row in have if (_number(row, key) > limit) is above]
        side, other = ("above", "at most") if above else ("below", "at least")
        if bad:
            worst = (max if above else min)(bad, key=lambda row: _number(row, key))
            text = (
                f"{_many(bad, have)} have {words} {side} {limit:g}; the worst is "
                f"{_number(worst, key):.3g}, of {_name(worst)}."
            )
            findings.append(Finding(good=False, text=text))
        else:
            text = f"All {len(have)} tasks have {words} of {other} {limit:g}."
            findings.append(Finding(good=True, text=text))
    for found in comparisons:
        findings += _agreement(found)
    return tuple(findings)


def _agreement(found: Comparison) -> list[Finding]:
    if found.replicates.max() < 2:
        return []
    words = "log-evidences" if found.measure == "log_evidence" else "scores"
    apart = np.argwhere(found.disagreement > APART)
    if not apart.size:
        text = f"Replicates agree: their {words} differ by at most {APART:g} standard errors."
        return [Finding(good=True, text=text)]
    said = ", ".join(f"{found.models[k]} on {found.sets[i]}" for i, k in apart[:NAMED])
    more = f" and {len(apart) - NAMED} more" if len(apart) > NAMED else ""
    return [
        Finding(
            good=False,
            text=f"Replicates differ by more than {APART:g} standard errors in their {words}: "
            f"{said}{more}. The errors there are too small.",
        )
    ]


def _number(row: Mapping[str, Any], key: str) -> float:
    value = row["outcome"].get(key)
    return float(value) if isinstance(value, int | float) else float("nan")


def _many(some: Sequence[Any], of: Sequence[Any]) -> str:
    return f"{len(some)} of {len(of)} tasks"


def _name(row: Mapping[str, Any]) -> str:
    model, where = column_of(row)
    return f"{model} on {where}" if where else model
