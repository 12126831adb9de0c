"""Request ids as somebody looks for them: whole ones, and the beginnings that many of one import share."""

from __future__ import annotations

from collections.abc import Iterable

ANY_END = "*"


class RequestWords:
    """Each word is a request id, or its beginning with a ``*`` behind it. Immutable; none of them matches no id."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(dict.fromkeys(words))
        self._whole = frozenset(self.words)
        self._beginnings = tuple(word.removesuffix(ANY_END) for word in self.words if word.endswith(ANY_END))

    def __bool__(self) -> bool:
        return bool(self.words)

    def match(self, request_id: str) -> bool:
        """Whether one of the words means this id."""
        return bool(request_id) and (request_id in self._whole or request_id.startswith(self._beginnings))

    def meaning(self, request_id: str) -> set[str]:
        """Those of the words that mean this id."""
        if not self.match(request_id):
            return set()
        begun = {beginning + ANY_END for beginning in self._beginnings if request_id.startswith(beginning)}
        return begun | ({request_id} & self._whole)
