"""From logits to decisions: calibrated probabilities, and a threshold per label.

    calibration.py  probabilities that are what they say, by label
    isotonic.py     a monotone curve for labels with many positives
    thresholds.py   a threshold per label, for an aim
    store.py        both in the model's folder, as ``decisions.json``

NumPy alone. A model's calibration and thresholds rest on its validation data.
"""
