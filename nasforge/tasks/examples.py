"""What a classifier answers for single images: the surest mistakes and some right answers, each as a small picture."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nasforge.data import IGNORE, Batch

MOST = 8  # pictures of each kind
SIDE = 48  # pixels, of the longer side; larger images are made smaller


class Examples:
    """The images that were taken for another class with most confidence, and the first image of each class that was answered rightly."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.wrong: list[tuple[float, int, int, Tensor]] = []  # confidence, class, answer, image
        self.right: dict[int, tuple[float, int, int, Tensor]] = {}
        self.low = self.high = torch.zeros(0)  # of each channel: what black and white are is not known

    def update(self, logits: Tensor, batch: Batch) -> None:
        """Take in the (B, K) logits of a batch; other inputs than images of one or three channels are passed over."""
        x, y = batch.x.float(), batch.targets[self.key].cpu()
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            return
        low, high = x.amin((0, 2, 3)).cpu(), x.amax((0, 2, 3)).cpu()
        self.low = low if not len(self.low) else torch.minimum(self.low, low)
        self.high = high if not len(self.high) else torch.maximum(self.high, high)
        sure, answer = (t.cpu() for t in logits.float().softmax(1).max(1))
        wrong = ((answer != y) & (y != IGNORE)).nonzero().flatten()
        for i in wrong[sure[wrong].argsort(descending=True)][:MOST].tolist():
            self.wrong.append((float(sure[i]), int(y[i]), int(answer[i]), _small(x[i])))
        self.wrong = sorted(self.wrong, key=lambda one: -one[0])[:MOST]
        for i in (answer == y).nonzero().flatten().tolist():
            if len(self.right) == MOST:
                break
            if int(y[i]) not in self.right:
                self.right[int(y[i])] = (float(sure[i]), int(y[i]), int(answer[i]), _small(x[i]))

    def result(self) -> dict[str, list[dict[str, Any]]]:
        """Return `wrong` and `right`, each a list of {class, answer, confidence, png}; pictures as base64."""
        return {kind: [self._told(*one) for one in found] for kind, found in (("wrong", self.wrong), ("right", self.right.values()))}

    def _told(self, sure: float, true: int, answer: int, image: Tensor) -> dict[str, Any]:
        low, high = self.low[:, None, None], self.high[:, None, None]
        pixels = (255 * (image - low) / (high - low).clamp_min(1e-9)).round().clamp(0, 255).byte()
        return {"class": true, "answer": answer, "confidence": round(sure, 4), "png": b64encode(png(pixels)).decode("ascii")}


def _small(image: Tensor) -> Tensor:
    """(C, H, W), made smaller where it is large."""
    share = SIDE / max(image.shape[1:])
    if share >= 1:
        return image.cpu()
    size = [max(1, round(n * share)) for n in image.shape[1:]]
    return functional.interpolate(image[None], size=size, mode="bilinear", antialias=True, align_corners=False)[0].cpu()


def png(pixels: Tensor) -> bytes:
    """Return (C, H, W) bytes, gray or RGB, as a PNG file. Source: the PNG specification, third edition, sections 5 and 11.2."""
    channels, height, width = pixels.shape
    rows = pixels.permute(1, 2, 0).reshape(height, -1)
    raw = b"".join(b"\0" + bytes(row.tolist()) for row in rows)  # a zero before each row: no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    parts = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
