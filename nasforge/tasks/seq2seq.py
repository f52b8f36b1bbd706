"""Sequence to sequence: a text is read whole, another is written from it token by token."""

from __future__ import annotations

import math

from nasforge.objectives.metrics import METRICS
from nasforge.tasks.tagging import StepScorer, Tagging


class Seq2Seq(Tagging):
    """Learns the next token of a target text, given the source and what was written so far (teacher forcing)."""

    name = "seq2seq"
    metrics = tuple(METRICS[name] for name in ("perplexity", "accuracy", "loss"))

    def scorer(self) -> PerplexityScorer:
        return PerplexityScorer(self, axis=-1)


class PerplexityScorer(StepScorer):
    """Also the perplexity of a token: e to the power of the loss."""

    def result(self) -> dict[str, float]:
        found = super().result()
        return {"perplexity": math.exp(min(found["loss"], 100.0)), **found}
