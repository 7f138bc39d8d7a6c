"""Targets: any log-density a user writes, as one fast evaluator of many points at once."""

from __future__ import annotations

from aisle_smc.targets.evaluator import Evaluation, Evaluator, evaluator
from aisle_smc.targets.target import Target, as_target

__all__ = ["Evaluation", "Evaluator", "Target", "as_target", "evaluator"]
