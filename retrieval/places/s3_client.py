"""What S3 and its like are asked for: pages of a listing, and objects, each with one request.

fsspec asks for the length of an object before the object, and keeps all pages of a folder until the last one came.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import IO, Any, TypeVar

import s3fs
from botocore import exceptions
from fsspec.asyn import sync

from retrieval.base.placed_files import Stamp
from retrieval.places.client import BLOCK, Listed, Page, TooLargeError, stamp_by

_Done = TypeVar("_Done")

_CONNECTIONS = 256
"""Open at a time, at most: that many requests are under way."""

_NO_CREDENTIALS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.ProfileNotFound,
    exceptions.ConfigNotFound,
    exceptions.ConfigParseError,
    exceptions.UnauthorizedSSOTokenError,
    exceptions.TokenRetrievalError,
)


class S3Client:
    """A bucket.

    Args:
        bucket: its name.
    """

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket
        self._fs = s3fs.S3FileSystem(
            use_listings_cache=False,
            skip_instance_cache=True,
            config_kwargs={"max_pool_connections": _CONNECTIONS, "retries": {"total_max_attempts": 1}},
        )
        self._fs.retries = 1  # it is asked again by whoever counts the seconds

    def page(self, folder: str, token: Any) -> Page:
        """See :meth:`retrieval.places.client.Client.page`."""
        more = {} if token is None else {"ContinuationToken": token}
        found = self._done(
            lambda: self._fs._call_s3("list_objects_v2", Bucket=self._bucket, Prefix=folder, Delimiter="/", **more)
        )
        folders = [one["Prefix"][len(folder) : -1] for one in found.get("CommonPrefixes", ())]
        objects = [Listed(one["Key"][len(folder) :], _stamp(one, one["Size"])) for one in found.get("Contents", ())]
        return Page(objects, folders, found.get("NextContinuationToken") if found.get("IsTruncated") else None)

    def stamp(self, key: str) -> Stamp | None:
        """See :meth:`retrieval.places.client.Client.stamp`."""
        try:
            found = self._done(lambda: self._fs._call_s3("head_object", Bucket=self._bucket, Key=key))
        except FileNotFoundError:
            return None
        return _stamp(found, found["ContentLength"])

    def head(self, key: str, count: int) -> bytes:
        """See :meth:`retrieval.places.client.Client.head`."""

        async def read() -> bytes:
            found = await self._fs._call_s3("get_object", Bucket=self._bucket, Key=key, Range=f"bytes=0-{count - 1}")
            try:
                return bytes(await found["Body"].read())
            finally:
                found["Body"].close()

        return self._done(read)

    def read(self, key: str, file: IO[bytes], most: int) -> Stamp:
        """See :meth:`retrieval.places.client.Client.read`."""

        async def read() -> Stamp:
            found = await self._fs._call_s3("get_object", Bucket=self._bucket, Key=key)
            try:
                if found["ContentLength"] > most:
                    raise TooLargeError(found["ContentLength"])
                while block := await found["Body"].read(BLOCK):
                    file.write(block)
            finally:
                found["Body"].close()
            if file.tell() != found["ContentLength"]:
                raise ConnectionError
            return _stamp(found, found["ContentLength"])

        return self._done(read)

    def _done(self, work: Callable[[], Coroutine[Any, Any, _Done]]) -> _Done:
        try:
            result: _Done = sync(self._fs.loop, work)
        except _NO_CREDENTIALS as error:
            raise PermissionError from error
        except exceptions.ParamValidationError as error:
            raise FileNotFoundError from error  # no bucket can be called so
        return result


def _stamp(found: dict[str, Any], size: int) -> Stamp:
    return stamp_by(size, found.get("LastModified"), found.get("ETag"))
