"""Whether a prediction is too high or too low."""

import numpy as np


def bias(truth, prediction, log_depth):
    """Mean signed error over genes and over the half of the spots with the most counts, on the expression scale."""
    deep = log_depth >= np.median(log_depth)
    return float((prediction - truth)[deep].mean())


bias.card = {
    "title": "bias of deep spots",
    "direction": "none",
    "unit": "expression scale",
    "needs": ["depth"],
    "description": "predicted minus true, mean over genes and over the half of a slide's spots with the most counts",
}
