"""Inspection: all images and labels of data sets, before a model learns from them.

This package is behind ``didvit data check``. `inspect` reads every image of the tables and gives a
`DataReport`; `inspection_tables` shows it in a terminal, and `draw_report` as a figure.

- ``fingerprint``: what identifies an image in any file: size, digest and perceptual hash
- ``cooccurrence``: which labels come together
- ``incidence``: sparse matrices of zeros and ones
- ``counting``: from tables to the report
- ``report``: the findings; problems and warnings as sentences
- ``tables``, ``picture``: the report for a terminal, and as a figure

It imports ``data``, where the checks of labels are (``data.findings``), as training repeats them.
Only the command line imports this package.
"""

from didvit.inspection.counting import inspect
from didvit.inspection.picture import draw_report
from didvit.inspection.report import DataReport
from didvit.inspection.tables import inspection_tables

__all__ = ["DataReport", "draw_report", "inspect", "inspection_tables"]
