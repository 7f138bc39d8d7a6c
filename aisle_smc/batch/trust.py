"""How far to trust the results of a study: diagnostics by model and data set, and in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aisle_smc.arrays import Floats
from aisle_smc.batch.comparison import K_HAT, Comparison, column_of, number, places
from aisle_smc.batch.sheets import count, noun
from aisle_smc.report.judgement import Finding

__all__ = ["Trust", "judge_study", "trust_of"]

R_HAT, ESS = 1.01, 100.0
# Where colours begin: a k-hat or an effective sample size that gives no cause for thought.
CALM_K_HAT, CALM_ESS = 0.2, 1000.0
NAMED = 3
# The kind whose effective sample size is of particles at one time, not of draws of a posterior.
FILTER = "filter"


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
        NaN where they are not known.  That of a filter is of its particles, the least over time.
    """

    kind: str
    models: tuple[str, ...]
    sets: tuple[str, ...]
    k_hat: Floats
    ess: Floats

    @property
    def has_k_hat(self) -> bool:
        """Whether tasks of this kind have a k-hat."""
        return bool(not np.isnan(self.k_hat).all())

    @property
    def heat_of_k_hat(self) -> Floats:
        """How bad a k-hat is, 0 to 1 and, beyond its limit, more."""
        return np.asarray(np.maximum((self.k_hat - CALM_K_HAT) / (K_HAT - CALM_K_HAT), 0.0))

    @property
    def heat_of_ess(self) -> Floats:
        """How bad an effective sample size is, 0 to 1 and, beyond its limit, more."""
        if self.kind == FILTER:
            return np.zeros_like(self.ess)
        with np.errstate(divide="ignore"):
            logs = np.log(CALM_ESS / self.ess) / np.log(CALM_ESS / ESS)
        return np.asarray(np.maximum(logs, 0.0))

    @property
    def words(self) -> str:
        """What colours mean."""
        if self.kind == FILTER:
            return "Of the particles, the least over time and replicates."
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
        pair = number(row, "khat"), number(row, "ess")
        if row["status"] == "done" and not np.isnan(pair).all():
            cells.setdefault(row["kind"], {}).setdefault(column_of(row), []).append(pair)
    found = []
    for kind, held in cells.items():
        models = places(model for model, _ in held)
        sets = places(name for _, name in held)
        k_hat, ess = (np.full((len(sets), len(models)), np.nan) for _ in range(2))
        for (model, name), pairs in held.items():
            at = sets[name], models[model]
            k, n = np.array(pairs).T
            k_hat[at], ess[at] = np.fmax.reduce(k), np.fmin.reduce(n)
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
    findings = []
    if not any(row["status"] == "failed" for row in rows):
        findings.append(Finding(good=True, text="No task has failed."))
    for kind in dict.fromkeys(row["kind"] for row in rows):
        findings += _judge(kind, [row for row in rows if row["kind"] == kind])
    for found in comparisons:
        findings += _agreement(found)
    return tuple(findings)


def _judge(kind: str, rows: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Look at the tasks of one kind."""
    findings = []
    failed = [row for row in rows if row["status"] == "failed"]
    if failed:
        text = f"{len(failed)} of {count(len(rows), noun(kind))} failed."
        findings.append(Finding(good=False, text=text))
    for key, words, limit, above in (
        ("khat", "a k-hat", K_HAT, True),
        ("ess", "an effective sample size", ESS, False),
        ("r_hat", "an R-hat", R_HAT, True),
    ):
        have = [r for r in rows if r["status"] == "done" and not np.isnan(number(r, key))]
        if not have or (key == "ess" and kind == FILTER):
            continue
        bad = [row for row in have if (number(row, key) > limit) is above]
        verb = "has" if len(bad or have) == 1 else "have"
        side, other = ("above", "at most") if above else ("below", "at least")
        if bad:
            worst = (max if above else min)(bad, key=lambda row: number(row, key))
            text = (
                f"{len(bad)} of {count(len(have), noun(kind))} {verb} {words} {side} {limit:g}; "
                f"the worst is {number(worst, key):.3g}, of {_name(worst)}."
            )
        else:
            who = "The one" if len(have) == 1 else f"All {len(have)}"
            plural = "s" * (len(have) != 1)
            text = f"{who} {noun(kind)}{plural} {verb} {words} of {other} {limit:g}."
        findings.append(Finding(good=not bad, text=text))
    return findings


def _agreement(found: Comparison) -> list[Finding]:
    several, judged = int((found.replicates > 1).sum()), int(found.judged.sum())
    if not several:
        return []
    of_what = " in their log-evidences" if found.measure == "log_evidence" else ""
    whose = f"replicates of {noun(found.kind)}s"
    if not judged:
        text = f"Whether {whose} agree{of_what} cannot be said: errors are missing or 0."
        return [Finding(good=False, text=text)]
    apart = np.argwhere(found.disagree)
    if apart.size:
        said = ", ".join(f"{found.models[k]} on {found.sets[i]}" for i, k in apart[:NAMED])
        more = f" and {len(apart) - NAMED} more" if len(apart) > NAMED else ""
        text = (
            f"{whose.capitalize()} differ{of_what} by more than their errors explain (by chance "
            f"as rarely as four standard errors): {said}{more}. The errors there are too small, "
            "or a run went astray."
        )
    else:
        text = (
            f"{whose.capitalize()} agree: in none of {count(judged, 'case')} do they differ"
            f"{of_what} by more than their errors explain."
        )
    if several > judged:
        text += f" {several - judged} more cannot be judged: errors are missing or 0."
    return [Finding(good=not apart.size, text=text)]


def _name(row: Mapping[str, Any]) -> str:
    model, where = column_of(row)
    return f"{model} on {where}" if where else model
