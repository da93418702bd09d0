"""The paper's tables and figures, and questions of ours, as experiments.

An `Experiment` is a list of rows. A row is what it changes in a `Benchmark`, which is data and a
recipe. A row that is trained and scored with one seed is a `Run`, which is one file. Tables and
figures are rendered from the runs that exist. Nothing but the command line imports from here.

    benchmarks.py   data and recipe, at the paper's scale and at smaller ones
    plans.py        the experiments, with the paper's numbers
    trainer.py      trains rows, each once
    scoring.py      scores rows, each once, and compares them
    runs.py         runs on disk
    tables.py       tables in Markdown: the paper's number and ours side by side
    figures.py      figures: points, or curves
    boxes.py        the quality of the boxes
    pictures.py     figure 3
"""
