"""Options of other projects (ultralytics, timm, torchvision, Lightning), and their names here."""

from collections.abc import Collection
from typing import NamedTuple


class Advice(NamedTuple):
    """What to use in place of an option that people know from elsewhere.

    Attributes:
        theirs: Its names elsewhere, without the dashes.
        ours: Our names of it; the first one that a command has counts. None: there is no such
            option, and ``how`` says why.
        how: How values convert.
    """

    theirs: str
    ours: tuple[str, ...]
    how: str = ""


ADVICE = (
    Advice(
        "epochs num-epochs max-epochs n-epochs",
        ("--steps",),
        "steps = epochs x images / batch size: 10 epochs of 6,400 images in batches of 32 are 2000",
    ),
    Advice(
        "warmup-epochs warmup-steps warmup-iters lr-warmup-epochs",
        ("--warmup",),
        "a fraction of the steps: warm-up steps / steps",
    ),
    Advice("lr0 base-lr initial-lr lr-init blr", ("--learning-rate",)),
    Advice("batch bs b batchsize train-batch-size", ("--batch-size",)),
    Advice("wd", ("--weight-decay",)),
    Advice("opt", ("--optimizer",), "sgd or adamw"),
    Advice("model-ema model-ema-decay ema-decay", ("--ema",), "the decay, such as 0.998"),
    Advice("clip-grad clip-grad-norm grad-clip gradient-clip-val", ("--clip-norm",)),
    Advice("accum-iter grad-accum-steps gradient-accumulation-steps", ("--accumulate",)),
    Advice("grad-checkpointing gradient-checkpointing", ("--activation-checkpointing",)),
    Advice("amp half fp16 bf16", ("--precision",), "fp32, bf16-mixed or fp16-mixed"),
    Advice("freeze", ("--freeze-blocks",), "a number of blocks"),
    Advice("save-period save-freq checkpoint-every", ("--save-every",), "in steps"),
    Advice("eval-freq eval-interval val-interval", ("--evaluate-every",), "in steps"),
    Advice(
        "csv annotations ann-file train-csv data-csv dataset data train",
        ("--data.train", "--data", "PATH..."),
        "PATH or PATH:SPLIT, as for every data set",
    ),
    Advice("val valid validation val-csv", ("--data.val",), "PATH or PATH:SPLIT"),
    Advice("data-dir data-path data-root dataset-root", ("--data.root", "--root", "--data")),
    Advice(
        "imgsz img img-size image-size input-size resolution train-crop-size",
        ("--model.image-size",),
        "height and width in pixels, such as --model.image-size 224 224",
    ),
    Advice("conf conf-thres conf-threshold confidence thresh score-thr", ("--threshold",)),
    Advice("topk top-k", ("--top-n", "--model.top-n")),
    Advice("weights checkpoint ckpt model-path", ("--model", "MODEL")),
    Advice(
        "weights",
        ("--model.weights",),
        "the backbone's first weights; --start-from takes a trained model",
    ),
    Advice("checkpoint ckpt model-path finetune", ("--start-from",)),
    Advice("model arch net model-name", ("--model.backbone",), "the name of a timm model"),
    Advice("pretrained", ("--model.weights",), "such as --model.weights pretrained"),
    Advice("source input images img-path", ("PATH...", "--data", "--data.train")),
    Advice("save-dir output-dir out outdir project log-dir name", ("--output",), "a folder"),
    Advice("num-workers j", ("--workers", "--data.workers")),
    Advice("gpu gpus cuda accelerator", ("--device",), "such as --device cuda:0"),
    Advice("save-txt save-json", ("--json",), "a file"),
    Advice("imgsz img img-size image-size input-size", (), "the input's size is the model's own"),
)


def advice_for(name: str, known: Collection[str]) -> str | None:
    """What to say of an unknown option, given the names that the command knows.

    >>> advice_for("--conf", ["--threshold"])
    'use --threshold'
    """
    bare = name.lstrip("-").lower()
    for advice in ADVICE:
        if bare not in advice.theirs.split():
            continue
        if not advice.ours:
            return advice.how
        ours = next((option for option in advice.ours if option in known), None)
        if ours:
            return f"use {ours}" + (f" ({advice.how})" if advice.how else "")
    return None
