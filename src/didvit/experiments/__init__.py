"""The paper's tables and figures, and questions of ours, under one harness.

An `Experiment` is a table of rows; a row is what it changes in a `Benchmark`, which is data and a
budget. A trained model is kept by what it was trained with, so that rows and experiments share it.

    benchmarks.py   data, recipe and start, at the paper's scale and at one for a CPU
    plans.py        the experiments, with the paper's numbers
    running.py      trains and scores rows, each once
    results.py      JSON, a table and a figure: the paper's number and ours, side by side
    pictures.py     figure 3
    command.py      didvit experiment
"""
