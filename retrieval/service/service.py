"""What a running service consists of, for its routes to use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request

from retrieval.service.asking import Asker
from retrieval.service.collections import Collection, Collections
from retrieval.service.columns import Columns
from retrieval.service.counting import Counter
from retrieval.service.explaining import Explainer
from retrieval.service.kept import Kept
from retrieval.service.metrics import Metrics
from retrieval.service.pictures import Pictures
from retrieval.service.problems import Problem
from retrieval.service.settings import Settings
from retrieval.service.uploads import Uploads
from retrieval.service.writing import Writer


@dataclass(frozen=True)
class Service:
    """One service.

    Attributes:
        settings: how it was asked to run. collections: the indexes. asker: answers questions. explainer: says
            why a hit is one. uploads: pictures that were sent. pictures: makes thumbnails. metrics: counts. writer:
            changes indexes. columns: what all pictures have under a name. counter: says what a collection has of each
            kind. kept: what takes long to find out.
    """

    settings: Settings
    collections: Collections
    asker: Asker
    explainer: Explainer
    uploads: Uploads
    pictures: Pictures
    metrics: Metrics
    writer: Writer
    columns: Columns
    counter: Counter
    kept: Kept

    @classmethod
    def of(cls, settings: Settings, collections: Collections, metrics: Metrics, cache: Path | None) -> Service:
        """A service of some collections.

        Args:
            cache: the folder of thumbnails; None for none.
        """
        uploads, columns = Uploads(), Columns()
        counter = Counter(columns)
        asker = Asker(uploads, metrics)
        for collection in collections.all:
            if collection.ready:
                counter.begin(collection)
        return cls(
            settings, collections, asker, Explainer(asker, uploads), uploads, Pictures(cache), metrics, Writer(),
            columns, counter, Kept(cache),
        )  # fmt: skip

    def collection(self, request: Request) -> Collection:
        """The one that a request means by `?index=`, or the first."""
        return self.collections.named(request.query_params.get("index"))

    def close(self) -> None:
        """Finish what was begun, and let everything go."""
        self.kept.close()
        self.counter.close()
        self.writer.close()
        self.asker.close()
        self.collections.close()


def require_writer(request: Request) -> None:
    """See to it that who asks may write.

    Raises:
        Problem: they may not.
    """
    scope: Any = request.scope
    if not scope["may_write"]:
        raise Problem(403, "Writing needs a `write` token, or a service that was started with --write.", "read-only")
    json_sent = request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
    if request.method == "POST" and not json_sent and request.headers.get("x-retrieval") != "1":
        # A form of another page could send this much, and only that.
        raise Problem(403, "What writes needs a header `X-Retrieval: 1`, which no foreign form sends.", "header-needed")
