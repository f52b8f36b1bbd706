"""Attention: within a sequence, between two, over an image; transformer layers made of it.

weights = softmax(Q K^T / sqrt(P)), output = weights V       Source: Vaswani et al. 2017, equation 1
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.base import Layer
from nasforge.blocks.core.activation import Act
from nasforge.blocks.core.feedforward import Experts, FeedForward
from nasforge.blocks.core.shapes import Shape, channels, need_rank
from nasforge.blocks.vision.image_attention import ImageAttention, bot
from nasforge.blocks.vision.window_attention import WindowAttention, swin_pair


def heads_of(x: Tensor, heads: int) -> Tensor:
    """Split the heads: (B, T, heads*P) -> (B, heads, T, P)."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def head_sizes(width: int, heads: int, head_width: int | None, value_width: int | None) -> tuple[int, int]:
    """Return (P, L), the widths of a key and of a value of one head.

    Raise ValueError if the heads do not share `width` evenly.
    """
    if heads < 1 or (head_width is None and width % heads):
        raise ValueError(f"attention needs features divisible by heads, got {width} and {heads}; change heads or give head_width")
    key = width // heads if head_width is None else head_width
    return key, key if value_width is None else value_width


class Attention(Layer):
    """Multi-head self-attention. Shapes: (T, F) -> (T, out), out = F.

    Weights heads*(2*F*P + F*L + L*out), with P = head_width = F/heads and L = value_width = P. `causal`: a step reads
    itself and what is before; `window`: no further than that many steps. `dropout` is on the attention weights.
    Source: Vaswani et al. 2017, section 3.2.2.
    """

    scope = "global"

    def __init__(
        self,
        shape: Shape,
        heads: int = 8,
        head_width: int | None = None,
        value_width: int | None = None,
        out: int | None = None,
        causal: bool = False,
        window: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        need_rank(shape, (2,), "attention")
        length, width = shape
        key, value = head_sizes(width, heads, head_width, value_width)
        self.heads, self.causal, self.dropout = heads, causal, dropout
        self.widths = [heads * key, heads * key, heads * value]
        self.read = nn.Linear(width, sum(self.widths), bias=bias)
        self.project = nn.Linear(heads * value, width if out is None else out, bias=bias)
        self.mask: Tensor | None
        self.register_buffer("mask", None if window is None else near(length, window, causal), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.attended(x, self.mask)

    def attended(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return what each step finds in those that the mask lets it see."""
        query, key, value = (heads_of(part, self.heads) for part in self.read(x).split(self.widths, 2))  # (B, heads, T, P)
        rate = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(query, key, value, mask, rate, self.causal and mask is None)
        return self.project(y.transpose(1, 2).flatten(2))  # (B, heads, T, L) -> (B, T, out)


def near(length: int, window: int, causal: bool) -> Tensor:
    """Return (T, T), true where step j is at most `window` steps from step i, and not after it if causal."""
    if window < 0:
        raise ValueError(f"window must be at least 0 steps, got {window}")
    steps = torch.arange(length)
    back = steps[:, None] - steps[None, :]  # how far j is before i
    return (back.abs() <= window) & ((back >= 0) | (not causal))


class CrossAttention(Layer):
    """Multi-head attention from one sequence to another: queries of the first, keys and values of the second input.

    Shapes: (T, F), (S, G) -> (T, out), out = F. Source: Vaswani et al. 2017, section 3.2.3.
    """

    reads = "all"
    scope = "global"

    def __init__(
        self,
        shapes: tuple[Shape, ...],
        heads: int = 8,
        head_width: int | None = None,
        value_width: int | None = None,
        out: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        width, other = two_sequences(shapes, "cross_attention")
        key, value = head_sizes(width, heads, head_width, value_width)
        self.heads, self.dropout = heads, dropout
        self.widths = [heads * key, heads * value]
        self.ask = nn.Linear(width, heads * key, bias=bias)
        self.read = nn.Linear(other, sum(self.widths), bias=bias)
        self.project = nn.Linear(heads * value, width if out is None else out, bias=bias)

    def forward(self, x: Tensor, memory: Tensor, *rest: Tensor) -> Tensor:
        return self.attended(x, memory, None)

    def attended(self, x: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """Return what each step finds in the steps of the memory that the mask lets it see."""
        query = heads_of(self.ask(x), self.heads)  # (B, heads, T, P)
        key, value = (heads_of(part, self.heads) for part in self.read(memory).split(self.widths, 2))  # (B, heads, S, P)
        y = F.scaled_dot_product_attention(query, key, value, mask, self.dropout if self.training else 0.0)
        return self.project(y.transpose(1, 2).flatten(2))


def two_sequences(shapes: tuple[Shape, ...], what: str) -> tuple[int, int]:
    """Return the features of the first two inputs. Raise ValueError unless both are sequences."""
    if len(shapes) < 2:
        raise ValueError(f"{what} reads two inputs, got one; name one with `as: memory` and write `from: [last, memory]`")
    for shape in shapes[:2]:
        need_rank(shape, (2,), what)
    return channels(shapes[0]), channels(shapes[1])


class Attend(Layer):
    """Single attention by a chosen score, as between the states of a recurrent decoder and its encoder.

    Shapes: (T, F) or (F), (S, G) -> (T, G) or (G), the contexts; join concat: with the query beside, (T, F + G). With
    one input a sequence attends to itself (dot: weights softmax(x_i . x_j), self-attention without matrices).
    score: dot q.k; scaled q.k / sqrt(G); general q W k; additive v.tanh(W q + U k) with `hidden` = G units; location
    W q, one weight vector for each of the S places. Sources: Bahdanau et al. 2015, section 3.1; Luong et al. 2015,
    equations 8 and 9.
    """

    reads = "all"
    scope = "global"

    def __init__(
        self,
        shapes: tuple[Shape, ...],
        score: Literal["dot", "scaled", "general", "additive", "location"] = "dot",
        hidden: int | None = None,
        join: Literal["context", "concat"] = "context",
    ) -> None:
        super().__init__()
        memory = shapes[1] if len(shapes) > 1 else shapes[0]
        need_rank(shapes[0], (1, 2), "attend")
        need_rank(memory, (2,), "the memory of attend")
        width, (places, other) = channels(shapes[0]), memory
        if score in ("dot", "scaled") and width != other:
            raise ValueError(f"score {score} needs queries and keys of one width, got {width} and {other}; use general or additive")
        self.score, self.join = score, join
        self.ask = self.read = self.value = None
        if score == "additive":
            inner = other if hidden is None else hidden
            self.ask = nn.Linear(width, inner)
            self.read, self.value = nn.Linear(other, inner, bias=False), nn.Linear(inner, 1, bias=False)
        elif score in ("general", "location"):
            self.ask = nn.Linear(width, other if score == "general" else places, bias=False)

    def scores(self, query: Tensor, memory: Tensor) -> Tensor:
        """Return the scores: (B, T, F), (B, S, G) -> (B, T, S)."""
        asked = query if self.ask is None else self.ask(query)
        if self.score == "location":
            return asked
        if self.read is not None and self.value is not None:
            return self.value(torch.tanh(asked.unsqueeze(2) + self.read(memory).unsqueeze(1))).squeeze(3)
        products = asked @ memory.transpose(1, 2)
        return products / memory.shape[2] ** 0.5 if self.score == "scaled" else products

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        memory = context[0] if context else x
        query = x.unsqueeze(1) if x.ndim == 2 else x  # (B, T, F)
        return self.answer(x, self.scores(query, memory).softmax(2) @ memory)

    def answer(self, x: Tensor, found: Tensor) -> Tensor:
        """Return the contexts (B, T, G) as the queries have it, beside them where they are joined."""
        found = found.squeeze(1) if x.ndim == 2 else found
        return torch.cat([x, found], -1) if self.join == "concat" else found


class AttentionPool(Layer):
    """A sequence as the weighted mean of its steps, weights softmax(v.tanh(W h + b)). Shapes: (T, F) -> (F).

    `hidden` = F units. Source: Bahdanau et al. 2015, appendix A.1.2, with a trained query; Lin et al. 2017, equation 5.
    """

    scope = "global"

    def __init__(self, shape: Shape, hidden: int | None = None) -> None:
        super().__init__()
        need_rank(shape, (2,), "attention_pool")
        inner = shape[1] if hidden is None else hidden
        self.read = nn.Linear(shape[1], inner)
        self.value = nn.Linear(inner, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.weighted(x, self.scores(x).softmax(1))

    def scores(self, x: Tensor) -> Tensor:
        """Return the scores of the steps: (B, T, F) -> (B, T, 1)."""
        return self.value(torch.tanh(self.read(x)))

    def weighted(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return the sum of the steps, each times its weight."""
        return (weights.transpose(1, 2) @ x).squeeze(1)


# ---------------------------------------------------------------- transformer layers


def _wrapped(part: dict, order: str, dropout: float, eps: float) -> list:
    """Return a part with its shortcut and layer norm, after the addition (post) or before the part (pre)."""
    norm = {"norm": {"kind": "layer", "eps": eps}}
    body = [part, {"dropout": {"p": dropout}}] if dropout else [part]
    if order == "pre":
        return [{"residual": {"shortcut": "identity", "body": [norm, *body]}}]
    return [{"residual": {"shortcut": "identity", "body": body}}, norm]


def encoder_layer(
    heads: int = 8,
    hidden: int | None = None,
    expand: float = 4.0,
    order: Literal["post", "pre"] = "post",
    act: Act = "relu",
    dropout: float = 0.0,
    causal: bool = False,
    window: int | None = None,
    head_width: int | None = None,
    eps: float = 1e-5,
) -> list:
    """Self-attention and a feed-forward network of `hidden` (or expand * F) units, each with shortcut and layer norm.

    Sources: post Vaswani et al. 2017, section 3.1; pre Dosovitskiy et al. 2021, equations 2 and 3 (with act: gelu).
    """
    look: dict = {"attention": {"heads": heads, "head_width": head_width, "causal": causal, "window": window}}
    think: dict = {"ffn": {"hidden": hidden, "expand": expand, "act": act, "dropout": dropout}}
    return [*_wrapped(look, order, dropout, eps), *_wrapped(think, order, dropout, eps)]


def decoder_layer(
    heads: int = 8,
    hidden: int | None = None,
    expand: float = 4.0,
    order: Literal["post", "pre"] = "post",
    act: Act = "relu",
    dropout: float = 0.0,
    head_width: int | None = None,
    eps: float = 1e-5,
) -> list:
    """Causal self-attention, cross-attention to the second input, feed-forward network.

    Source: Vaswani et al. 2017, section 3.1.
    """
    parts: list[dict] = [
        {"attention": {"heads": heads, "head_width": head_width, "causal": True}},
        {"cross_attention": {"heads": heads, "head_width": head_width}},
        {"ffn": {"hidden": hidden, "expand": expand, "act": act, "dropout": dropout}},
    ]
    return [block for part in parts for block in _wrapped(part, order, dropout, eps)]


BLOCKS = {
    "attention": Attention, "cross_attention": CrossAttention, "attend": Attend, "attention_pool": AttentionPool,
    "image_attention": ImageAttention, "window_attention": WindowAttention, "ffn": FeedForward, "experts": Experts,
    "encoder_layer": encoder_layer, "decoder_layer": decoder_layer, "swin_pair": swin_pair, "bot": bot,
}  # fmt: skip
