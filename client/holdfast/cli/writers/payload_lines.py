"""Payloads as lines of a file: the very text that is stored, except that a line cannot hold a line break."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.payloads import payload_texts

if TYPE_CHECKING:
    from holdfast.v1 import vector_pb2

_BREAKS = str.maketrans("\r\n", "  ")


@dataclass(slots=True)
class PayloadLines:
    """Makes the lines, and counts the payloads that are not as they are stored."""

    changed: int = 0
    """Payloads whose line breaks, which stand only between the values of JSON, were written as spaces."""

    def of(self, batch: vector_pb2.PointColumns) -> list[str]:
        """One line a row, without its end; ``null`` for none."""
        texts = payload_texts(batch.payloads, len(batch.ids))
        if b"\n" not in batch.payloads:
            return ["null" if text is None else text for text in texts]
        return ["null" if text is None else self._on_one_line(text) for text in texts]

    def _on_one_line(self, text: str) -> str:
        if "\n" not in text:
            return text
        self.changed += 1
        return text.translate(_BREAKS)
