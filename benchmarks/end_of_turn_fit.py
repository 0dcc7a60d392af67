"""Fits the weights of `pipelines.endpoint.decision` to the fitting half of the labelled set.

Logistic regression (is this pause the end?) with a normal prior on every weight: `GUESSES`, written down
before any measurement, with a standard deviation of `DOUBT`. Where the set says little a weight stays near
its guess. Punctuation, which the recogniser of this set does not write, and the model stay exactly there. The
sound of synthetic voices is not that of people: the set may say less about its weights (`SOUND_DOUBT`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from end_of_turn_pauses import WORDS_KNOWN_MS, Pause
from numpy.typing import NDArray

from pipelines.endpoint.decision import measured

DOUBT = 0.4
SOUND_DOUBT = {"pitch slope": 0.1, "pitch at the end": 0.05, "lengthening": 0.1, "drop in level": 0.1}
GUESSES = {
    "words not known yet": -0.4, "no words": -0.4, "question mark": 0.9, "full stop": 0.5, "comma": -1.0,
    "ellipsis": -2.0, "whole answer": 1.2, "whole question": 0.5, "last word hangs": -2.0,
    "last word is a filler": -2.0, "fragment": -0.6, "first half of a sentence": -1.0,
    "number is being dictated": -1.6, "number is complete": 0.6, "list without its last item": -1.2,
    "pitch slope": -0.2, "pitch at the end": -0.1, "lengthening": 0.0, "drop in level": 0.0,
    "sound during the silence": -2.0, "model": 1.0,
}  # fmt: skip


def fitted(pauses: list[Pause]) -> dict[str, float]:
    """The weights, from what was recognised and once more from the true words."""
    names = list(GUESSES)
    rows, ends = [], []
    for pause in pauses:
        for text in {pause.evidence.text, pause.truth}:
            evidence = replace(pause.known_at(WORDS_KNOWN_MS), text=text)
            row = np.zeros(len(names) + 1)
            row[-1] = 1.0
            for name, value in measured(evidence):
                row[names.index(name)] += value
            rows.append(row)
            ends.append(pause.length_ms is None)
    prior = np.array([*GUESSES.values(), 0.0])
    spread = np.array([*(SOUND_DOUBT.get(name, DOUBT) for name in names), 10.0])
    weights = _newton(np.array(rows), np.array(ends, float), prior, spread)
    return dict(zip(names, weights[:-1].tolist(), strict=True))


def _newton(
    x: NDArray[np.float64], y: NDArray[np.float64], prior: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    weights = prior.copy()
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-x @ weights))
        gradient = x.T @ (y - p) - (weights - prior) / spread**2
        curvature = (x * (p * (1 - p))[:, None]).T @ x + np.diag(1 / spread**2)
        step = np.linalg.solve(curvature, gradient)
        weights += step
        if np.abs(step).max() < 1e-8:
            break
    return weights
