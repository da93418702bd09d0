"""The page about a model: what ``didvit report`` writes.

- ``measure``: from probabilities and targets to figures, with NumPy alone
- ``curves``, ``mistakes``: parts of it
- ``rule``: how logits become probabilities and decisions
- ``subject``: what a model's folder says of it
- ``drawings``: curves by matplotlib
- ``pictures``: photographs of the worst mistakes, with their regions
- ``model_page``: all of it as HTML
- ``making``: from scores to the page

No PyTorch is needed. Only the command line imports this package.
"""

from didvit.reports.making import make_page
from didvit.reports.model_page import Circumstances
from didvit.reports.rule import Rule, rule_of
from didvit.reports.subject import Subject, read_subject

__all__ = ["Circumstances", "Rule", "Subject", "make_page", "read_subject", "rule_of"]
