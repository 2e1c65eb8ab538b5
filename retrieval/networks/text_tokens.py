"""Words to the numbers that a model's text side takes, by a tokenizer.json, without torch and transformers."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from retrieval.errors import RetrievalError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE_BYTES: Final = 2**27
"""Most bytes of a tokenizer.json; that of Gemma, with 256,000 tokens, has 34 million."""

LONGEST: Final = 4096
"""Most tokens of a text. Those of CLIP take 77, of SigLIP 2 and TIPSv2 64."""

LETTERS: Final = 64
"""Letters a token that are looked at: whatever is beyond them is beyond the tokens that a model takes, too."""

_AGAIN = re.compile(r"\)[*+{]")
"""A group that is repeated: where there is a repetition in it too, matching it can take for ever."""


class Tokens:
    """What a text is to a model.

    Args:
        tokenizer: of a :func:`fixed` length.

    Raises:
        RetrievalError: as :func:`parse` does.
    """

    def __init__(self, tokenizer: bytes) -> None:
        self._tokenizer = parse(tokenizer)
        padding = self._tokenizer.padding or {}
        self.length = int(padding.get("length") or 0)

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """int64 (n, 2, length): the numbers of the tokens, and which of them are the text's (1) and not padding (0).

        Raises:
            RetrievalError: the tokenizer can make nothing of a text.
        """
        with _said():
            found = self._tokenizer.encode_batch([text[: LETTERS * self.length] for text in texts])
            rows = [(one.ids, one.attention_mask) for one in found]
        if any(len(part) != self.length for row in rows for part in row):
            raise unusable("its texts are not all of one length")
        return np.array(rows, np.int64).reshape(len(texts), 2, self.length)


def parse(content: bytes) -> Tokenizer:
    """A tokenizer of its file's content.

    Raises:
        RetrievalError: the library is not installed, or the file is none that it reads, or one that may take for ever.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise RetrievalError(
            'To search by words this needs the package tokenizers; run `pip install "retrieval[pretrained]"`.'
        ) from None
    if len(content) > FILE_BYTES:
        raise unusable(f"it has more than {FILE_BYTES >> 20} MB")
    with _said():
        found = Tokenizer.from_str(content.decode())
        parts = [part.__getstate__() for part in (found.normalizer, found.pre_tokenizer) if part is not None]
    if any(_AGAIN.search(pattern) for part in parts for pattern in _patterns(json.loads(part))):
        raise unusable("it looks for a repeated group, which may take for ever")
    return found


def fixed(tokenizer: Tokenizer, length: int, pad: str, side: str = "right") -> bytes:
    """The content of a tokenizer.json that makes every text so long.

    Args:
        length: tokens of a text; what is beyond them is cut off.
        pad: the token that fills up what is shorter. side: where.

    Raises:
        RetrievalError: there is no such token.
    """
    number = tokenizer.token_to_id(pad)
    if number is None:
        raise unusable(f"it has no token {pad[:40]!r} to fill up texts with")
    with _said():
        tokenizer.enable_truncation(length)
        tokenizer.enable_padding(direction=side, pad_id=number, pad_token=pad, length=length)
        return str(tokenizer.to_str()).encode()


def unusable(why: str) -> RetrievalError:
    """What is said of a tokenizer.json that is no good."""
    return RetrievalError(f"The model's tokenizer.json cannot be used ({why}); take the one that its text side has.")


def _patterns(part: Any) -> Iterator[str]:
    """The regular expressions in a part of a tokenizer."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "Regex" and isinstance(value, str):
                yield value
            else:
                yield from _patterns(value)
    elif isinstance(part, list):
        for value in part:
            yield from _patterns(value)


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """What the library, which is written in Rust, does not take is a sentence; its panics are no `Exception`."""
    try:
        yield
    except (RetrievalError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise unusable(" ".join(str(error).split())[:120] or type(error).__name__) from None
