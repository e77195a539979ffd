"""How sure a model may be: the temperature that fits its probabilities to what it gets right, as pure functions.

Measuring calibration is `figures`' and `scoring`'s matter; dividing by the temperature is the package's.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from tidegate.evidence.statistics import Floats

BOUNDS = (0.01, 100.0)
"""Temperatures outside are not looked at: labels that are all right ask for 0, labels that are noise for infinity."""


def temperature(logits: Floats, labels: NDArray[np.int64]) -> float:
    """The T with the least log loss of softmax(logits / T), within `BOUNDS`; 1 where there is no row.

    The loss is convex in 1 / T, so there is one least (C. Guo et al., "On Calibration of Modern Neural
    Networks", ICML 2017, section 4.2). No label changes by it.

    Args:
        logits: (n, k). Rows of a label that the model does not know (minus infinity) are left out.
        labels: (n,) indexes of the actual labels.
    """
    known = np.isfinite(logits[np.arange(len(labels)), labels])
    if not known.any():
        return 1.0
    low, high = np.log(BOUNDS)
    found = minimize_scalar(
        lambda log_t: log_loss(logits[known], labels[known], np.exp(log_t)), bounds=(low, high), method="bounded"
    )
    return float(np.exp(found.x))


def log_loss(logits: Floats, labels: NDArray[np.int64], temperature: float) -> float:
    """Mean negative log-likelihood of softmax(logits / temperature), in nats; logits (n, k), labels (n,)."""
    return float(-log_softmax(logits / temperature, axis=1)[np.arange(len(labels)), labels].mean())


def probabilities(logits: Floats, temperature: float) -> Floats:
    """(n, k) probabilities of (n, k) logits, as a package with this temperature gives them."""
    return np.asarray(softmax(logits / temperature, axis=1))
