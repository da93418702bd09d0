"""From a trained model to graphs that run without PyTorch.

network.py    the two passes of DiD as modules to be traced
graphs.py     from a module to an ONNX graph whose weights lie in model.safetensors
quantized.py  from a graph to one that computes in 8 bits
folder.py     from a model folder to an export
parity.py     the proof that both give the same
"""

import didvit.inference.engines  # noqa: F401  (tells ONNX Runtime to send nothing, before it comes)
