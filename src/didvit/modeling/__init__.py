"""From a configuration to a model, to disk and back.

    build.py          the one place where backbone, head and method meet
    backbones.py      backbones by name, and their weights: from a hub, a file or a package
    eva.py            timm's class with rotary positions as a backbone
    suitability.py    why an architecture of timm can or cannot be the backbone
    architectures.py  the list of those that can
    start.py          the model that a training run begins with
    checkpoint.py     a model as a folder: ``config.json`` and ``model.safetensors``
    quantize.py       weights in 8 bits

A `ModelConfig` becomes a backbone (`build_backbone`) and a head (`HEADS`), these become a `DiD`
(`build_model`), and `save_checkpoint` writes it with its configuration and labels.
`load_checkpoint` goes the same way back.

Imports ``method``, ``heads``, ``config`` and ``data``. ``training`` and ``inference`` use it.
"""
