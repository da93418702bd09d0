"""The paper's tables and figures, and questions of ours, under one harness.

An `Experiment` is a table of rows; a row is what it changes in a `Benchmark`, which is data and a
budget. A trained model is kept by what it was trained with, so that rows and experiments share it.

    benchmarks.py   data, recipe and start, at the paper's scale and at one for a CPU
    plans.py        the experiments, with the paper's numbers
    trainer.py      trains rows, each once
    running.py      scores them, each once, and compares them
    results.py      JSON, a table and a figure: the paper's number and ours, side by side
    measures.py     what a row of the JSON says, over its seeds
    figures.py      the figure of an experiment
    boxes.py        the quality of the boxes
    pictures.py     figure 3
    command.py      didvit experiment
"""
