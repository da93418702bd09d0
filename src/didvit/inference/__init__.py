"""Prediction on photographs: from what users bring to labels, regions and pictures.

`predictor` runs a model on images of any size. `prediction` holds what was found. `visualization`
draws it. `paths` finds the image files and names the pictures.
"""
