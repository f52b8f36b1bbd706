"""How large Arrow messages become when they are unpacked: a packed buffer begins with its size, which is read and not believed later.

Source: the format's description, https://arrow.apache.org/docs/format/Columnar.html, with `Message.fbs` (a FlatBuffer).
"""

from __future__ import annotations

import struct
from typing import Any

DICTIONARY, BATCH = 2, 3  # kinds of messages that hold buffers


def unpacked_size(message: Any) -> int:
    """Return the bytes to which the packed buffers of a message of pyarrow unpack; 0 where none is packed, or the message is damaged."""
    head, body = message.metadata.to_pybytes(), memoryview(message.body or b"")
    try:
        root = _number(head, 0, "<I")
        kind, header = _field(head, root, 1), _table(head, root, 2)
        if kind and head[kind] == DICTIONARY:
            header = _table(head, header, 1)
        elif not kind or head[kind] != BATCH:
            return 0
        buffers = _table(head, header, 2)
        if not _field(head, header, 3) or not buffers:  # nothing is packed
            return 0
        spans = [struct.unpack_from("<qq", head, buffers + 4 + 16 * i) for i in range(_number(head, buffers, "<I"))]
        return sum(max(0, _number(body, place, "<q")) for place, size in spans if size >= 8 and 0 <= place <= len(body) - 8)
    except (struct.error, IndexError):
        return 0


def _number(data: Any, place: int, form: str) -> int:
    return int(struct.unpack_from(form, data, place)[0])


def _field(data: bytes, table: int, index: int) -> int:
    """Where a field of a table lies; 0 where the table has none."""
    if not table:
        return 0
    about = table - _number(data, table, "<i")
    place = 4 + 2 * index
    offset = _number(data, about + place, "<H") if place < _number(data, about, "<H") else 0
    return table + offset if offset else 0


def _table(data: bytes, table: int, index: int) -> int:
    """Where the table or vector that a field points to lies; 0 where there is none."""
    place = _field(data, table, index)
    return place + _number(data, place, "<I") if place else 0
