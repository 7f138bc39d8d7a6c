"""Parameters for the estimators that have no defaults, for tests that go through the table."""

from __future__ import annotations

from aisle_smc.divergences import JensenShannon

PARAMETERS = {
    "aisle-alpha": {"order": 0.5},
    "aisle-alpha-score": {"order": 0.5},
    "aisle-alpha-score-dreg": {"order": 1.5},
    "aisle-f": {"divergence": JensenShannon()},
    "aisle-f-score": {"divergence": JensenShannon()},
    "vr": {"alpha": 0.4},
    "vr-iwae": {"alpha": 0.4},
    "vr-dreg": {"alpha": 0.4},
    "vr-score": {"alpha": 0.4},
    "miwae": {"groups": 2},
    "piwae": {"groups": 2},
    "ciwae": {"beta": 0.3},
}
