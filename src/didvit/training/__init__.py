"""Training: from a configuration to a run folder, which is a model folder with its records.

    trainer.py        the loop, and `train`
    tables.py         the data sets, and the resolution that photographs are read at
    module.py         from photographs and targets to the loss, as one module
    losses.py         losses per image and category
    optim.py          what learns, how fast, and by which rule
    validation.py     scores of the validation data, and the best step
    checkpointing.py  training states, from which a stopped run continues
    stopping.py       signals that end a run
    distributed.py    processes and devices
    run_folder.py     the files of a run;  model_card.py  its README
    observer.py       told how a run goes

`read_tables` reads the data sets, `build_start` the first weights. `TrainingStream` gives a batch
of photographs and targets for every step, `Learner` its loss, and the optimizer a step. Every few
steps the validation data are scored, the records written and the state saved. The best weights
become the model.

Imports ``method``, ``heads``, ``data``, ``config``, ``modeling`` and ``evaluation``.
``experiments`` and ``cli`` use it.
"""
