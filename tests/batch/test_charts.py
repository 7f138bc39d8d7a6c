"""The figure of parameters: which of the replicates it shows, and which it leaves out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aisle_smc.batch import charts
from tests.batch.test_page import row


def shown(monkeypatch, rows):
    """What is drawn of the first model and the first data set, and the caption."""
    drawn = []
    monkeypatch.setattr(charts, "png", lambda figure: drawn.append(figure) or b"")
    picture = charts.draw_parameters(rows)
    line = drawn[0].axes[0].containers[0].lines[0]
    return np.asarray(line.get_ydata())[0], picture.caption


@pytest.mark.parametrize(
    ("r_hats", "expected"),
    [
        ((1.01, 1.002, 1.05), 1.0),
        ((1.01, 1.5, 1.5), 0.0),
        ((math.nan, 1.05, math.nan), 1.0),
        ((math.nan, math.nan, math.nan), 2.0),
        ((1.4, 1.2, 1.5), math.nan),
    ],
)
def test_parameters_are_those_of_the_replicate_that_converged(monkeypatch, r_hats, expected):
    pytest.importorskip("matplotlib")
    rows = [
        row("x", "a", k, r_hat=r, **{"mean.mu": float(k), "sd.mu": 1.0})
        for k, r in enumerate(r_hats)
    ] + [row("x", "b", r_hat=1.0, **{"mean.mu": 0.5, "sd.mu": 1.0})]
    value, caption = shown(monkeypatch, rows)
    np.testing.assert_equal(float(value), expected)
    assert "best R-hat is shown" in caption
    assert ("1 of 2 left out, with an R-hat above 1.1" in caption) is math.isnan(expected)
