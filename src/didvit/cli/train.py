"""``didvit train``."""

import datetime
import time
from typing import Annotated

import tyro

from didvit.cli.options import SUCCESS, check_data, check_device, check_folder, check_model
from didvit.config import TrainConfig


def train(config: Annotated[TrainConfig, tyro.conf.arg(name="")]) -> int:
    """Train a model on photographs and their labels.

    'didvit train NAME ...' begins with the settings of a recipe. '--model' of the other commands
    takes the run folder. Exit code 0; 2 for wrong usage or data that cannot be learned from; 130
    (Ctrl-C) or 143 (SIGTERM) if the run was stopped: its state is saved, and --resume continues.
    """
    check_folder("--output", config.output)
    check_device("--device", config.runtime.device)
    for data in config.data.train:
        check_data("--data.train", data, config.data.root)
    check_data("--data.val", config.data.val, config.data.root)
    if config.start_from:
        check_model("--start-from", config.start_from)
    if config.loss.teacher:
        check_model("--loss.teacher", config.loss.teacher)
    from didvit.cli.console import TrainingConsole, stderr_console
    from didvit.data.wording import counted, one_line
    from didvit.data.workers import WorkerError
    from didvit.training import trainer as training
    from didvit.training.distributed import is_main_process
    from didvit.training.run_folder import RunFolder

    console = stderr_console()
    console.quiet = not is_main_process()  # several processes say everything once
    start = time.monotonic()
    try:
        with TrainingConsole(config, console) as observer:
            run = training.train(config, observer)
    except WorkerError as error:
        if not any(RunFolder(config.output).states.glob("*.pt")):
            raise
        raise WorkerError(f"{error}; --resume continues after the last saved step") from error
    steps = config.schedule.steps - observer.first_step
    duration = datetime.timedelta(seconds=round(time.monotonic() - start))
    trained = f"trained {steps} steps in {duration}" if steps else "the run was finished already"
    score = run.validation[config.model.method.fusion]
    quality = (
        "cannot be measured, as the validation data have no label that is both present and absent"
        if score is None
        else f"has {score:.1f} mAP on the validation data"
    )
    console.print(
        f"{trained}; the model of step {run.step} "
        f"({config.choose}) {quality}; it is in {run.folder}",
        markup=False,
    )
    if run.passed_over:
        console.print(
            f"{counted(len(run.passed_over), 'training image')} could not be read; another took "
            f"the place of each; first: {one_line(run.passed_over[0])}",
            markup=False,
        )
    return SUCCESS
