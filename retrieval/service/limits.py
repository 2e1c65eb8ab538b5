"""What a request may ask for: bytes, pixels, hits, time. Beyond these it is refused before anything is done for it."""

from __future__ import annotations

BODY = 4 * 2**20
"""Bytes of a request that carries no picture."""

UPLOAD = 64 * 2**20
"""Bytes of a request that carries pictures, all of them together."""

PIXELS = 100_000_000
"""Width × height of an uploaded picture, as it is decoded: beyond this it is none that a camera makes."""

ARRIVING = 512 * 2**20
"""Bytes of all requests that send pictures at a time: they lie in memory or on the disk until they are read."""

FILES = 16
"""Pictures in one request."""

HITS = 1_000
"""Hits in one answer; what is beyond comes by the cursor."""

EXPLAINED = 20
"""Hits of an answer that are explained: where a network does not decompose, each takes it 50 looks."""

PARTS = 64
"""Parts of one question."""

TEXT = 2_000
"""Letters of a filter, a text or a path."""

TOGETHER = 32
"""Questions that are answered together, at most."""

PICTURES_TOGETHER = 8
"""Pictures that go through the network together, at most, so that what else waits does not wait long."""

WAITING = 256
"""Questions, pictures or thumbnails that may wait for their turn; one more is told to come again."""

PATIENCE = 30.0
"""Seconds that a question may wait for its turn, and that the body of a request may take to arrive in full for each
:data:`BODY` bytes of what it may have."""

CONNECTIONS = 512
"""Requests at a time; one more is told to come again."""

OPEN = 768
"""Connections at a time, idle ones too, of which each takes one of the files that a process may have open; one more is
told to come again."""

HEAD = 32 * 2**10
"""Bytes of a request before its body."""

SILENCE = 30.0
"""Seconds that a connection may take from its beginning, or the end of an answer, to the end of a request's head."""

RATE, BURST = 100.0, 1_000.0
"""Requests a second from one address, in the long run and at once; from this machine itself there is no such limit."""

KEPT_SECONDS, KEPT_BYTES = 3_600.0, 200 * 10**6
"""How long an uploaded picture is kept, and how much of all of them."""

THUMBNAILS = 2 * 10**9
"""Bytes of thumbnails that are kept on the disk."""
