"""Items that were asked for, kept for whoever asks for them again: hits of one query are hits of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from retrieval.index.records import Item


class Remembered:
    """Some items of one generation of an index.

    Any number of threads may use one. What is read from it stays as it is: where there is no more room, new items take
    the place of all.

    Args:
        most: items that it keeps.

    Attributes:
        by_id, by_path: the items.
        alike: by the checksum of a file the items whose files have it, by ascending id, also where there is none.
        by_content: the items by the checksums of their files; of several that share one any of them.
        asked: how often somebody has asked for the items of a checksum that are not kept.
        looked: whether somebody has looked at all checksums since.
        shared: the checksums that several items may have; None while nobody knows.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.by_id: dict[int, Item] = {}
        self.by_path: dict[str, Item] = {}
        self.alike: dict[str, tuple[Item, ...]] = {}
        self.by_content: dict[str, Item] = {}
        self.asked = 0
        self.looked = False
        self.shared: frozenset[str] | None = None
        self._alike = 0

    def keep(self, items: Mapping[int, Item]) -> Mapping[int, Item]:
        """Keep some more, by their ids. What is returned has them all: :attr:`by_id`, or themselves if they are too
        many."""
        if len(items) > self._most:
            return items
        by_id, by_path, by_content = self.by_id, self.by_path, self.by_content
        if len(by_id) + len(items) > self._most:
            self.by_id, self.by_path, self.by_content = by_id, by_path, by_content = {}, {}, {}
        by_id.update(items)
        by_path.update({item.path: item for item in items.values()})
        by_content.update({item.sha256: item for item in items.values()})
        return by_id

    def alone(self, sha256: str) -> Item | None:
        """The only item whose file has this checksum, where that is known."""
        return None if self.shared is None or sha256 in self.shared else self.by_content.get(sha256)

    def keep_alike(self, sha256: str, items: Sequence[Item]) -> None:
        """Keep which items' files have this checksum."""
        self._alike += 1 + len(items)
        if self._alike > self._most:
            self.alike, self._alike = {}, 1 + len(items)
        if self._alike <= self._most:
            self.alike[sha256] = tuple(items)
