"""Evaluation of a model: measures, and from a model and a data set to a report.

`metrics` measures scores, with numpy alone. `report` scores a table and gathers the measures, and
`evaluate` does so for a data set by its path. `box_metrics` and `boxes` measure the regions.
`voc_submission` writes files for VOC's evaluation server.
"""
