"""Answers to requests that leave nothing in the log: one that is sent again gets the first answer (RULES 17).

RECEIPTS.json holds them, so that a restart does not forget them. What is about to be done is noted before it is begun:
after a crash in between, the request sent again finishes it and gets the answer that was noted.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import msgspec

from ..format.document import encode_document
from ..storage.clock import Clock
from ..storage.files import FileSystem, replace_file
from ..storage.kept_document import load_or_move_aside
from .requests import MAX_AGE_US, differ, reused
from .tickets import Caller

T = TypeVar("T")
MAX_ANSWERS = 10_000
RECEIPTS_VERSION = 1


@dataclass(frozen=True, slots=True)
class _Receipt:
    """``answer``: what was told, as plain values. ``done``: whether what it says has come true.

    ``request_digest``: of what was asked for, 0 where that is not known.
    """

    request_id: str
    time_us: int
    done: bool
    answer: dict[str, Any]
    request_digest: int = 0


@dataclass(frozen=True, slots=True)
class _Content:
    receipts: tuple[_Receipt, ...] = ()
    format_version: int = RECEIPTS_VERSION


class Answers:
    """The answers of the last ten minutes by request id, in the file ``path``. Thread-safe.

    ``problem``: why what was there cannot be used, or None. Making one reads the file, and moves a damaged one aside;
    raises UnsupportedFormat, OSError.
    """

    def __init__(self, fs: FileSystem, path: str, clock: Clock) -> None:
        self._fs = fs
        self._path = path
        self._clock = clock
        # Guards what follows; never held while a request is carried out, which may wait for a network.
        self._changed = threading.Condition()
        self._receipts: dict[str, _Receipt] = {}
        self._under_way: set[str] = set()
        self.problem = self._load()

    def _load(self) -> str | None:
        # No reason to refuse the data: what is lost is the protection of retries for the last ten minutes.
        content, damage = load_or_move_aside(self._fs, self._path, "receipts", _Content, RECEIPTS_VERSION)
        self._receipts = {receipt.request_id: receipt for receipt in (content or _Content()).receipts}
        return f"{damage}; what was deleted by requests before this start is told to no retry" if damage else None

    def once(self, caller: Caller, of: type[T], look: Callable[[], T], do: Callable[[T], T]) -> T:
        """``look()`` and then ``do`` it, or the answer that this request, ``of`` which it is, got before.

        ``do`` returns what came of it, which is the answer. An error is none: where it comes after something has been
        done, the request sent again goes on from there. ``do`` may be told to finish what it has done in part or in
        whole. Blocks; the answer is durable on return, unless the disk is full. Raises InvalidArgument where the
        request id was another request's.
        """
        request_id, digest = caller.request_id, caller.request_digest
        if not request_id:
            return do(look())
        with self._alone(request_id) as receipt:
            if receipt is None:
                plain = msgspec.to_builtins(look())
                receipt = _Receipt(request_id, self._clock.now_us(), False, plain, digest)
                self._put(receipt)
            elif differ(receipt.request_digest, digest):
                raise reused(request_id, "which was carried out")
            answer = msgspec.convert(receipt.answer, of)
            return answer if receipt.done else self._finish(receipt, answer, look, do)

    @contextlib.contextmanager
    def _alone(self, request_id: str) -> Iterator[_Receipt | None]:
        """What is known of a request, whose twin waits for the end of the block."""
        with self._changed:
            while request_id in self._under_way:
                self._changed.wait()
            self._under_way.add(request_id)
            self._forget_old()
            receipt = self._receipts.get(request_id)
        try:
            yield receipt
        finally:
            with self._changed:
                self._under_way.discard(request_id)
                self._changed.notify_all()

    def _finish(self, receipt: _Receipt, answer: T, look: Callable[[], T], do: Callable[[T], T]) -> T:
        try:
            done = do(answer)
        except BaseException:
            if _nothing_done(answer, look):
                with self._changed:
                    self._receipts.pop(receipt.request_id, None)
                    self._save()
            raise
        self._put(replace(receipt, done=True, answer=msgspec.to_builtins(done)))
        return done

    def _put(self, receipt: _Receipt) -> None:
        with self._changed:
            self._receipts[receipt.request_id] = receipt
            self._save()

    def _save(self) -> None:
        content = _Content(tuple(self._receipts.values()))
        # A full disk must not stand in the way of a deletion. Then memory alone remembers it.
        with contextlib.suppress(OSError):
            replace_file(self._fs, self._path, encode_document("receipts", content))

    def _forget_old(self) -> None:
        oldest_us = self._clock.now_us() - MAX_AGE_US
        young = [receipt for receipt in self._receipts.values() if receipt.time_us >= oldest_us]
        self._receipts = {receipt.request_id: receipt for receipt in young[-MAX_ANSWERS:]}


def _nothing_done(answer: T, look: Callable[[], T]) -> bool:
    """Whether all still looks as it did before the request; not where that cannot be told."""
    try:
        return look() == answer
    except Exception:
        return False
