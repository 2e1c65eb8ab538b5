"""Which structures are worth trying for n vectors of d numbers, and what each will cost, from n and d alone.

Nothing here is built or measured. Every factory that comes out of :func:`candidates` can be built: lists have vectors
enough to be trained, a projection is narrower than the vectors, quantizers divide what they quantize.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

FEWEST = 1000
"""Vectors from which structures are tried; exact search of fewer takes as long as calling a structure does."""

PER_LIST = 39
"""Vectors that each inverted list needs to be trained, as FAISS asks of its k-means."""

_SIGNS = 64
"""Numbers in a vector from which one bit for each tells enough."""

_NUMBERS = (16, 32, 64, 128)
"""Numbers of 8 bits that vectors in lists are kept as."""

_WIDTHS = (32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Numbers that vectors are projected to."""


@dataclass(frozen=True)
class Candidate:
    """A structure to try.

    Attributes:
        factory: what it is, in the words of :mod:`retrieval.index.nearest`.
        growth: building n vectors takes about n to this power.
    """

    factory: str
    growth: float


def candidates(n: int, d: int) -> list[Candidate]:
    """The structures worth trying, the most promising kinds first; whether their libraries are installed is not asked.

    FAISS's NSG is none of them: where a tenth of the vectors are equal, building it never ends, whoever waits for it.

    Args:
        n: vectors it will hold.
        d: numbers in each.
    """
    if n < FEWEST:
        return []
    return [priced(factory) for factory in (*_graphs(n, d), *_lists(n, d), *_flat(d))]


def priced(factory: str) -> Candidate:
    """A structure, and how the time to build it grows."""
    return Candidate(factory, _growth(factory))


def _flat(d: int) -> list[str]:
    """Every vector is looked at, in fewer bytes."""
    return ["SQfp16", "SQ8", *_fast_scan(d), *(["BFlat"] if d >= _SIGNS else [])]


def _lists(n: int, d: int) -> list[str]:
    """Vectors in lists, of which the nearest few are looked at."""
    out = in_few_numbers(n, d)
    for count in _list_counts(n):
        out += [f"IVF{count},{codec}" for codec in ("Flat", "SQ8", *_fast_scan(d))]
        if d >= _SIGNS:
            # One bit a number says little where a few numbers have most of the spread; FAISS does not rotate by itself.
            out.append(f"RR{d},IVF{count},RaBitQfs")
        for width in projections(n, d):
            out += [f"PCA{width},IVF{count},{codec}" for codec in ("SQ8", *_fast_scan(width))]
        if d >= _SIGNS:
            out.append(f"BIVF{count}")
    return out


def in_few_numbers(n: int, d: int) -> list[str]:
    """Lists of vectors of which few numbers are kept, a half and a quarter; built in seconds, the most lists last."""
    return [f"Lists{count}x{width}" for count in _list_counts(n) for width in _parts(d, _NUMBERS)]


def _graphs(n: int, d: int) -> list[str]:
    """Vectors linked with their neighbours."""
    out = ["SymphonyQG32_SQ8"] if d >= 32 else []
    out += [f"PCA{width},HNSW{links}_SQ8" for width in projections(n, d) for links in (16, 32)]
    out += [f"HNSW{links}{codec}" for links in (16, 32) for codec in ("_SQ8", "_SQfp16", ",Flat")]
    return [*out, "BHNSW32"] if d >= _SIGNS else out


def _list_counts(n: int) -> list[int]:
    """Powers of two near the square root of n and four times that, as far as the vectors suffice to train them."""
    near = 2 ** round(math.log2(math.sqrt(n)))
    return [count for count in (near, 4 * near) if PER_LIST * count <= n]


def projections(n: int, d: int) -> list[int]:
    """About a half and a quarter of d, where n vectors say enough about their d × d covariance."""
    if n < 2 * d:
        return []
    return _parts(d, _WIDTHS)


def _parts(d: int, widths: Sequence[int]) -> list[int]:
    """The largest of some widths up to a half and up to a quarter of d."""
    fitting = [[width for width in widths if width <= share] for share in (d // 2, d // 4)]
    return list(dict.fromkeys(some[-1] for some in fitting if some))


def _fast_scan(d: int) -> list[str]:
    """Four bits for every two numbers, compared many at a time."""
    return [f"PQ{d // 2}x4fs"] if d >= 16 and d % 2 == 0 else []


def _growth(factory: str) -> float:
    """As builds of 2,000 and of 50,000 to a million vectors compare: much of the time for few is overhead, and
    quantizers and lists are trained on a sample that stops growing."""
    if "PQ" in factory:
        return 0.8 if "IVF" in factory else 0.5
    if re.search("IVF|Lists", factory):
        return 1.1
    return 1.15 if re.search("HNSW|Symphony", factory) else 1.0


def for_sample(factory: str, n: int) -> str:
    """The same structure for a sample of n vectors: with fewer lists, where it has lists."""
    counts = _list_counts(n) or [1]
    return re.sub(r"(IVF|Lists)(\d+)", lambda match: f"{match[1]}{min(int(match[2]), counts[0])}", factory)


def estimate_bytes(factory: str, n: int, d: int) -> int:
    """About how much memory a structure takes.

    Per vector its code (float32 4·d, fp16 2·d, SQ8 d, PQm x4fs m/2, RaBitQ and binary d/8, RaBitQ 8 more), in lists 8
    for its number, in graphs of M links 8·M + 24 (HNSW, which has 2·M at the ground), and in SymphonyQG,
    beside float32 or SQ8, its M neighbours' codes of d/8, numbers of 4 and factors of 8, where d is at least 64; in the
    blocks of "Lists" the numbers that are kept, of 1, and 4 for its position. Once: the lists' centres of 4·d each, a
    projection's matrix of 4·d·d′, a rotation's of 4·d·d. After a projection d is d′.
    """
    once = 0.0
    if match := re.match(r"(?:PCA|RR)(\d+),", factory):
        once += 4 * d * int(match[1])
        d, factory = int(match[1]), factory[match.end() :]
    if match := re.match(r"SymphonyQG(\d+)", factory):
        width = max(d, 64)
        return math.ceil(n * (_code_bytes(factory, width) + int(match[1]) * (width // 8 + 12)))
    if match := re.fullmatch(r"Lists(\d+)x(\d+)", factory):
        lists, width = int(match[1]), int(match[2])
        return 4 * d * width + lists * (4 * width + 8) + (n + 8 * lists) * (width + 4)
    each = 0.0
    if factory[0] == "B":
        once += 4 * d * d
    if match := re.match(r"B?IVF(\d+)", factory):
        once += int(match[1]) * (d / 8 if factory[0] == "B" else 4 * d)
        each += 8
    if match := re.match(r"B?HNSW(\d+)", factory):
        each += 8 * int(match[1]) + 24
    return math.ceil(once + n * (each + _code_bytes(factory, d)))


def _code_bytes(factory: str, d: int) -> float:
    if factory[0] == "B":
        return -(-d // 8)
    if match := re.search(r"PQ(\d+)x4fs", factory):
        return int(match[1]) / 2
    for code, size in (("SQfp16", 2 * d), ("SQ8", d), ("RaBitQ", d / 8 + 8)):
        if code in factory:
            return size
    return 4 * d
