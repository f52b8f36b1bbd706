"""(being written)"""

from __future__ import annotations

LAYERS: dict[str, type] = {}
COMBINATORS: dict[str, type] = {}
MOTIFS: dict[str, object] = {}
