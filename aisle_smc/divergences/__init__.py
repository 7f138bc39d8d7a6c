r"""Divergences between a target and a proposal, as coefficients of the particles' log-weights.

Every way to improve a proposal here is one of two sums over particles, with coefficients that
depend on the log-weights and on the divergence and on nothing else:

    >>> import numpy as np
    >>> from aisle_smc.divergences import ChiSquare, coefficients
    >>> log_w = np.log([0.5, 1.0, 2.0, 0.5])
    >>> path, score = coefficients(log_w, ChiSquare())

``path`` multiplies the gradient of the log-ratio along reparametrised draws, ``score`` the
gradient of the proposal's log-density. NumPy arrays give arrays; torch tensors give tensors. Where
the proposal is fitted in closed form, :func:`update` is the whole step.

Alphas
------
The order a is the power of the target in :math:`\int \pi^a q^{1-a}`. What others call it:

=================================  ==========  ========  =========  ========
                                   exclusive   1/2       inclusive  chi2
                                   KL                    KL
=================================  ==========  ========  =========  ========
``order`` here, Minka's alpha      0           1/2       1          2
Renyi order on (target, proposal)  0           1/2       1          2
Li and Turner's alpha, ``1 - a``   1           1/2       0          -1
n of CUBO                          .           .         1          2
alpha of Finke and Thiery, y^a     .           1/2       .          2
=================================  ==========  ========  =========  ========
"""

from __future__ import annotations

from aisle_smc.divergences.coefficients import (
    Coefficients,
    coefficients,
    off_policy,
    reparametrise_score,
)
from aisle_smc.divergences.functions import Divergence, General, JensenShannon, TailAdaptive
from aisle_smc.divergences.powers import KL, Alpha, ChiSquare, ExclusiveKL, Hellinger
from aisle_smc.divergences.refitting import Fittable, Update, update
from aisle_smc.divergences.stabilisers import (
    Clipping,
    ParetoSmoothing,
    Stabilised,
    Stabiliser,
    Truncation,
    WeightTempering,
)

__all__ = [
    "KL",
    "Alpha",
    "ChiSquare",
    "Clipping",
    "Coefficients",
    "Divergence",
    "ExclusiveKL",
    "Fittable",
    "General",
    "Hellinger",
    "JensenShannon",
    "ParetoSmoothing",
    "Stabilised",
    "Stabiliser",
    "TailAdaptive",
    "Truncation",
    "Update",
    "WeightTempering",
    "coefficients",
    "off_policy",
    "reparametrise_score",
    "update",
]
