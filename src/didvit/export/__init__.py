"""From a trained model to graphs that run without PyTorch.

network.py    the two passes of DiD as modules to be traced
graphs.py     from a module to an ONNX graph whose weights lie in model.safetensors
"""
