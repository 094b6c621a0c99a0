"""Where the rows of a shard lie in its file, found without reading them.

LMDB's own look-up hands out the payload's memory, and its Python binding touches every page of it first: on a
cold file one 4096-byte read after the other, 55 MB/s where the disk does 2,000. So the shard's tree of pages
is followed here, as LMDB 0.9 lays it out on 64 bits (lmdb.h and mdb.c, data version 1), and the payload is
then read in one go by whoever wants it. The format has not changed since 2011; another one is told apart by
the first page, and left to LMDB itself.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple, overload

_MAGIC, _VERSION = 0xBEEFC0DE, 1
# Of a page: its number, pad, flags, end of the list of nodes' positions behind the header, and of free room.
_PAGE = struct.Struct("<QHHHH")
_BRANCH, _LEAF = 0x01, 0x02
# Of the meta page, behind the header: magic, version, address, size, two tables, last page, transaction.
_META = struct.Struct("<IIQQ48s48sQQ")
# Of a table: page size (in the first), flags, depth, three counts of pages, entries, root page.
_TABLE = struct.Struct("<IHHQQQQQ")
_NODE = struct.Struct("<HHHH")  # low and high half of the payload's size, flags, size of the key
_NUMBER = struct.Struct("<Q")
_ELSEWHERE = 0x01  # the payload has pages of its own
_NO_PAGE = (1 << 64) - 1
_DEEPEST = 32


class UnknownLayoutError(ValueError):
    """The file is not laid out as is known here: by LMDB of another version, or for 32 bits."""


class Place(NamedTuple):
    """Offset in the file and size of a row's payload."""

    offset: int
    size: int


class RowPlaces:
    """The rows of one shard. Keeps the pages of its tree, some 50 bytes a row, and nothing of the rows.

    Every method raises ValueError or OSError where the file is damaged; making one raises UnknownLayoutError
    where its layout is another.
    """

    def __init__(self, descriptor: int, table: bytes = b"rows") -> None:
        self._descriptor = descriptor
        self._pages: dict[int, _Page] = {}
        self._page_size, main = self._newest_meta()
        self._root = main
        place = self._find(main, table)
        if place is None or place.size != _TABLE.size:
            raise ValueError(f"it has no table {table.decode()!r}")
        self._root = _TABLE.unpack(self._bytes(place.offset, place.size))[-1]

    def find(self, key: bytes) -> Place | None:
        """Where the payload of a key lies; None where there is no such key."""
        return self._find(self._root, key)

    def _newest_meta(self) -> tuple[int, int]:
        """Page size, and root of the table of tables, as the last transaction left them."""
        size, _, _ = self._meta(0)
        return max((self._meta(offset) for offset in (0, size)), key=lambda meta: meta[2])[:2]

    def _meta(self, offset: int) -> tuple[int, int, int]:
        """Page size, root of the table of tables, number of the transaction."""
        raw = self._bytes(offset + _PAGE.size, _META.size)
        magic, version, _, _, free, main, _, transaction = _META.unpack(raw)
        if (magic, version) != (_MAGIC, _VERSION):
            raise UnknownLayoutError(f"its pages are of LMDB's data version {version}, not {_VERSION}")
        size = _TABLE.unpack(free)[0]
        if size < _PAGE.size + _META.size:
            raise ValueError(f"it says that a page has {size} bytes")
        return size, _TABLE.unpack(main)[-1], transaction

    def _find(self, root: int, key: bytes) -> Place | None:
        number = root
        if number == _NO_PAGE:
            return None
        for _ in range(_DEEPEST):
            page = self._page(number)
            if page.flags & _LEAF:
                return page.place(key, number * self._page_size, self._page_size)
            number = page.child(key)
        raise ValueError("its tree of pages has no end")

    def _page(self, number: int) -> _Page:
        if number not in self._pages:
            self._pages[number] = _Page(self._bytes(number * self._page_size, self._page_size), number)
        return self._pages[number]

    def _bytes(self, offset: int, size: int) -> bytes:
        if offset >= 1 << 62 or len(raw := os.pread(self._descriptor, size, offset)) != size:
            raise ValueError(f"it ends before byte {offset + size}, which its pages point to")
        return raw


class _Page(Sequence[bytes]):
    """One page of a tree; as a sequence, the keys of its nodes in order."""

    def __init__(self, raw: bytes, number: int) -> None:
        self._raw = raw
        found, _, self.flags, end, _ = _PAGE.unpack_from(raw)
        if found != number or not self.flags & (_BRANCH | _LEAF) or not _PAGE.size <= end <= len(raw):
            raise ValueError(f"page {number} is not part of its tree")
        self._nodes = struct.unpack_from(f"<{(end - _PAGE.size) // 2}H", raw, _PAGE.size)

    def __len__(self) -> int:
        return len(self._nodes)

    @overload
    def __getitem__(self, node: int) -> bytes: ...
    @overload
    def __getitem__(self, node: slice) -> list[bytes]: ...
    def __getitem__(self, node: int | slice) -> bytes | list[bytes]:
        if isinstance(node, slice):
            return [self[one] for one in range(*node.indices(len(self)))]
        start = self._nodes[node] + _NODE.size
        return self._raw[start : start + self._node(node)[3]]

    def child(self, key: bytes) -> int:
        """The page below that would hold the key: the last whose first key is not behind it."""
        # The first node's key is left out on disk: it stands for everything before the second's.
        node = bisect_right(self, key, lo=1) - 1
        low, high, top, _ = self._node(node)
        return low | high << 16 | top << 32

    def place(self, key: bytes, offset: int, page_size: int) -> Place | None:
        """Of a leaf that begins at `offset` of the file."""
        node = bisect_right(self, key) - 1
        if node < 0 or self[node] != key:
            return None
        low, high, flags, length = self._node(node)
        start = self._nodes[node] + _NODE.size + length
        if flags & _ELSEWHERE:
            if start + _NUMBER.size > len(self._raw):
                raise ValueError("a row's place lies beyond its page")
            start, offset = _PAGE.size, _NUMBER.unpack_from(self._raw, start)[0] * page_size
        return Place(offset + start, low | high << 16)

    def _node(self, node: int) -> tuple[int, int, int, int]:
        if node >= len(self) or self._nodes[node] + _NODE.size > len(self._raw):
            raise ValueError("a node lies beyond its page")
        low, high, flags, length = _NODE.unpack_from(self._raw, self._nodes[node])
        return low, high, flags, length
