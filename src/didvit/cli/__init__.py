"""The command ``didvit``: arguments, help, checks and output. Other packages do the work.

    main.py        from arguments to a command, and from an exception to an exit code
    parsing.py     arguments of one command: unknown names and impossible values are refused
    advice.py      options of other projects, and what they are called here
    help.py        what --help and --help-advanced show; the usual options of each command
    options.py     types, defaults and checks that several commands share
    console.py     bars, log lines and tables for people
    threads.py     how many threads a prediction takes
    predict.py evaluate.py train.py pack.py experiment.py data.py      one file per verb

A command is a function. Its parameters and their docs are its options and their help. Heavy imports
(PyTorch) happen inside the function, behind its checks: help and refusals are quick.

It may import every other package, and no package imports it.
"""
