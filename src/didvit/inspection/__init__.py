"""A look at all images and labels of data sets, before a model learns from them."""

from didvit.inspection.counting import inspect
from didvit.inspection.picture import draw_report
from didvit.inspection.report import DataReport
from didvit.inspection.tables import inspection_tables

__all__ = ["DataReport", "draw_report", "inspect", "inspection_tables"]
