"""What measurements say of a model's errors: a Gaussian process over ln(measured / estimated).

Networks that are alike have errors alike. So the error at a network is taken to be a constant that all share (the board
is slower than the model's, its stack another) and a smooth function of a few features, and what is left is its scatter:
noise of measuring, and what is particular to a network and no feature tells (Rasmussen and Williams, Gaussian Processes
for Machine Learning, 2006, algorithm 2.1 and section 5.4.1).
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular

__all__ = ["Correction"]

Floats = NDArray[np.float64]

SHARES = (0.1, 0.3, 1.0)
"""How much of the prior deviation may differ from network to network."""
LENGTHS = (0.5, 1.0, 2.0, 4.0)
"""Distance in features over which errors stay alike; features are logarithms, so 0.7 is a factor of 2."""
SCATTERS = (0.01, 0.03, 0.1)
"""Standard deviation of what is left: from the noise of a good measurement to the kernels that TensorRT happens to pick
for one shape and not for the next."""
UNTOLD = {"length": 1.0, "scatter": 0.03}
"""Before anything was measured: all of the prior may differ from network to network, and those first measured should be
unlike each other."""


@dataclass(frozen=True)
class _Scale:
    """Standard deviations of the shared constant, of the smooth part, and of the scatter; length of the smooth part."""

    constant: float
    smooth: float
    length: float
    scatter: float


class Correction:
    """The errors of a model, as far as `features` (N, K) and `errors` (N,), ln(measured / estimated), tell; N may be 0.

    `prior` is the standard deviation that an error has as long as nothing was measured. The scales of the process are
    those of a fixed grid under which the errors are the most likely: deterministic, and cheap up to some hundreds.
    """

    def __init__(self, features: Floats, errors: Floats, prior: float, _scale: _Scale | None = None) -> None:
        self._features = np.asarray(features, dtype=np.float64)
        self._errors = np.asarray(errors, dtype=np.float64)
        self._scale = self._likeliest(prior) if _scale is None else _scale
        self._prior = math.hypot(self._scale.constant, self._scale.smooth)
        if len(self._errors):
            self._factor = cholesky(self._covariance(self._scale), lower=True)
            self._weights = cho_solve((self._factor, True), self._errors)

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation (M,) of the error that networks with these features (M, K) have in common with
        those around them: what further measurements can tell. One network differs from it by `scatter` besides."""
        features = np.asarray(features, dtype=np.float64)
        if not len(self._features):
            return np.zeros(len(features)), np.full(len(features), self._prior)
        across = _kernel(features, self._features, self._scale)
        spread = solve_triangular(self._factor, across.T, lower=True)
        variance = self._prior**2 - (spread**2).sum(axis=0)
        return across @ self._weights, np.sqrt(np.maximum(variance, 0.0))

    @property
    def scatter(self) -> float:
        """Standard deviation of what sets one network, or one measurement of it, apart from its like."""
        return self._scale.scatter

    def expecting(self, features: Floats) -> "Correction":
        """The same, as if networks with these features (M, K) had been measured and were as predicted: how certain one
        would be then does not depend on what comes out."""
        if not len(features):
            return self
        mean, _ = self.predict(features)
        every = np.concatenate([self._features, features]) if len(self._features) else np.asarray(features)
        return Correction(every, np.concatenate([self._errors, mean]), self._scale.constant, self._scale)

    def _covariance(self, scale: _Scale) -> Floats:
        own = _kernel(self._features, self._features, scale)
        return own + scale.scatter**2 * np.eye(len(own))

    def _likeliest(self, prior: float) -> _Scale:
        if not len(self._errors):
            return _Scale(prior, prior, **UNTOLD)
        grid = [_Scale(prior, prior * share, ln, s) for share, ln, s in itertools.product(SHARES, LENGTHS, SCATTERS)]
        return max(grid, key=self._likelihood)

    def _likelihood(self, scale: _Scale) -> float:
        """The logarithm of the marginal likelihood, without its constant."""
        factor, lower = cho_factor(self._covariance(scale), lower=True)
        solved = cho_solve((factor, lower), self._errors)
        return float(-0.5 * self._errors @ solved - np.log(np.diag(factor)).sum())


def _kernel(one: Floats, other: Floats, scale: _Scale) -> Floats:
    squares = ((one[:, None, :] - other[None, :, :]) ** 2).sum(axis=2)
    smooth: Floats = scale.smooth**2 * np.exp(-squares / (2 * scale.length**2))
    return scale.constant**2 + smooth
