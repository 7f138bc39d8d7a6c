"""Targets: any log-density a user writes, as one fast evaluator of many points at once."""

from __future__ import annotations

from aisle_smc.targets.evaluation import Evaluation, Evaluator
from aisle_smc.targets.factory import evaluator
from aisle_smc.targets.journal import Journal
from aisle_smc.targets.target import Target, as_target

__all__ = ["Evaluation", "Evaluator", "Journal", "Target", "as_target", "evaluator"]
