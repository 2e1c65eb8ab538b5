"""Search by picture over HTTP: indexes and folders of pictures, served by one process.

``docs/serving.md`` describes it for who runs and uses it. What it stands on (FastAPI, uvicorn) is the extra `serve`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from retrieval.errors import RetrievalError


def serve(
    paths: Sequence[str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    host_names: Sequence[str] = (),
    root_path: str = "",
    token_file: str | Path | None = None,
    write: bool = False,
    uploads: str | Path | None = None,
    move_to: str | Path | None = None,
    mapped: bool = False,
    open_page: bool = False,
    listening: Callable[[str], object] = lambda address: None,
) -> None:
    """Serve indexes to browsers and programs until SIGTERM or Ctrl-C.

    Args:
        paths: indexes, or folders of pictures, which are made into indexes first (``indexes/NAME``).
        host: the address to listen on. port: likewise; 0 for any that is free.
        host_names: names besides its own that browsers call the service by.
        root_path: what a proxy puts before every path.
        token_file: lines ``read TOKEN`` and ``write TOKEN``; needed for other addresses than this machine's.
        write: without tokens, let everybody on this machine change the indexes.
        uploads: the folder that takes in new pictures; None: they are refused.
        move_to: the folder that takes in duplicates that somebody moves out of the pictures'; None: none are moved.
        mapped: search indexes where they lie on the disk, instead of in memory.
        open_page: show the page in a browser.
        listening: is told the address as soon as requests are taken in.

    Raises:
        RetrievalError: a path is neither, the settings make no sense, the address is taken, or the extra `serve` is not
            installed.
    """
    from retrieval.service.settings import Settings, read_tokens

    readers, writers = read_tokens(token_file) if token_file is not None else (frozenset(), frozenset())
    settings = Settings(
        host=host,
        port=port,
        host_names=tuple(host_names),
        root_path=root_path,
        readers=readers,
        writers=writers,
        write=write,
        uploads=None if uploads is None else Path(uploads),
        move_to=None if move_to is None else Path(move_to),
    )
    try:
        from retrieval.service.server import run
    except ImportError as error:
        raise RetrievalError(
            f"Serving needs {error.name}; install what it stands on (`pip install 'retrieval[serve]'`)."
        ) from None
    run(paths, settings, listening=listening, open_page=open_page, mapped=mapped)
