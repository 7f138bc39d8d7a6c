"""Backward sampling rows, as the definition says."""

from __future__ import annotations

import numpy as np


def probabilities(log_w, log_p):
    """Probability of each index, one row for each trajectory; NaN where there is none."""
    with np.errstate(invalid="ignore"):
        log_v = log_w + log_p
        v = np.exp(log_v - log_v.max(axis=1, keepdims=True))
        return v / v.sum(axis=1, keepdims=True)


def rows(log_w, log_p, u):
    """Index by index; -1 where there is no mass."""
    out = []
    for p, uniform in zip(probabilities(log_w, log_p), u, strict=True):
        if np.isnan(p).any():
            out.append(-1)
            continue
        reached = np.cumsum(p) > uniform
        positive = np.flatnonzero(p > 0)
        out.append(int(np.flatnonzero(reached & (p > 0))[0]) if reached.any() else positive[-1])
    return np.array(out)
