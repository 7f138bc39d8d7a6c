"""How far to trust a posterior, said in sentences that name their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Finding", "headline", "judge", "summary_columns"]

R_HAT = 1.01
ESS_PER_CHAIN = 100
K_HAT = 0.7
EVIDENCE_ERROR = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at: whether it is as it should be, and what was seen."""

    good: bool
    text: str


def summary_columns(summary: Any) -> dict[str, Mapping[str, float]]:
    """Return a posterior summary by parameter, each a mapping from column to number."""
    return {row.name: row.values for row in summary.rows}


def judge(posterior: Any) -> tuple[Finding, ...]:
    """Look at what can go wrong with particle marginal Metropolis-Hastings.

    Parameters
    ----------
    posterior : Posterior
        What :func:`aisle_smc.ssm.pmmh` returns.

    Returns
    -------
    tuple of Finding
        Agreement of the chains, number of effective draws, acceptance, vanished weights, and the
        error of the log-evidence.

    References
    ----------
    Vehtari, Gelman, Simpson, Carpenter and Burkner (2021), for the limits of R-hat and ESS;
    Vehtari, Simpson, Gelman, Yao and Gabry (2024), for that of k-hat.
    """
    rows = summary_columns(posterior.summary())
    chains, draws = posterior.parameters.shape[:2]
    return (
        _agreement(rows, chains),
        _effective_draws(rows, chains, draws),
        _acceptance(posterior),
        *_vanished(posterior, chains * draws),
        *_evidence(posterior),
    )


def headline(findings: tuple[Finding, ...]) -> str:
    """Return the verdict in one sentence."""
    doubts = sum(not finding.good for finding in findings)
    if doubts == 0:
        return "Nothing that was checked speaks against this result."
    if doubts == 1:
        return "One check calls for care; read it before using the numbers."
    words = {2: "Two", 3: "Three", 4: "Four"}
    return f"{words.get(doubts, doubts)} checks call for care; read them before using the numbers."


def _agreement(rows: Mapping[str, Mapping[str, float]], chains: int) -> Finding:
    values = {name: float(row["r_hat"]) for name, row in rows.items()}
    worst = max(values, key=lambda name: math.inf if math.isnan(values[name]) else values[name])
    if math.isnan(values[worst]):
        return Finding(
            good=False,
            text="Whether the chains agree cannot be said: R-hat needs two chains or more, "
            "with several draws that differ.",
        )
    if values[worst] <= R_HAT:
        text = f"The {chains} chains agree: R-hat is at most {values[worst]:.3f} ({worst})."
        return Finding(good=True, text=text)
    return Finding(
        good=False,
        text=f"The {chains} chains do not agree well yet: R-hat of {worst} is "
        f"{values[worst]:.3f}, more than {R_HAT}. Longer chains (draws, tune) usually help.",
    )


def _effective_draws(rows: Mapping[str, Mapping[str, float]], chains: int, draws: int) -> Finding:
    values = {
        f"{name} ({part})": float(row[f"ess_{part}"])
        for name, row in rows.items()
        for part in ("bulk", "tail")
    }
    worst = min(values, key=lambda name: -1.0 if math.isnan(values[name]) else values[name])
    enough = ESS_PER_CHAIN * chains
    least = values[worst]
    if math.isnan(least):
        return Finding(good=False, text="There are too few draws to say how many count.")
    total = f"{chains * draws:,}".replace(",", " ") if chains * draws >= 10_000 else chains * draws
    if least >= enough:
        text = f"The {total} draws are worth at least {least:.0f} independent ones: {worst}."
        return Finding(good=True, text=text)
    return Finding(
        good=False,
        text=f"The {total} draws are worth only {least:.0f} independent ones for {worst}; "
        f"{enough} are wanted before tails and errors are believed.",
    )


def _acceptance(posterior: Any) -> Finding:
    rates = np.asarray(posterior.acceptance, dtype=np.float64)
    low, high = 100 * rates.min(), 100 * rates.max()
    said = f"{low:.0f} %" if round(low) == round(high) else f"{low:.0f} to {high:.0f} %"
    if low >= 5:
        return Finding(good=True, text=f"Proposals were accepted in {said} of cases.")
    return Finding(
        good=False,
        text=f"Proposals were accepted in {said} of cases only: chains that stand still. "
        "More particles (n) make the evidence less noisy and the chains livelier.",
    )


def _vanished(posterior: Any, draws: int) -> tuple[Finding, ...]:
    count = int(np.sum(posterior.degenerate))
    if count == 0:
        return ()
    at = "one proposal" if count == 1 else f"{count} proposals"
    return (
        Finding(
            good=count < 0.05 * draws,
            text=f"Every particle lost its weight at {at} for the parameters; such parameters "
            "count as impossible and are rejected.",
        ),
    )


def _evidence(posterior: Any) -> tuple[Finding, ...]:
    evidence = posterior.log_evidence
    if evidence is None:
        return ()
    error, k_hat = float(evidence.error), float(evidence.khat)
    good = math.isfinite(error) and error <= EVIDENCE_ERROR and k_hat <= K_HAT
    text = (
        f"The log-evidence has a standard error of {error:.2g} nats, from importance sampling "
        f"worth {float(evidence.ess):.0f} independent points (k-hat {k_hat:.2f})."
    )
    if k_hat > K_HAT:
        text += f" A k-hat above {K_HAT} says that the error itself is not to be relied on."
    elif not good:
        text += " Differences between models smaller than that mean nothing."
    return (Finding(good=good, text=text),)
