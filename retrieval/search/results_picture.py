"""The picture of the results: each query on the left, what was found for it on the right.

Drawn with Pillow alone, so that it is there in a fraction of a second and needs no display.
"""

from __future__ import annotations

import importlib.util
import io
import math
import textwrap
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from retrieval import images
from retrieval.base.files import write_durably
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.search.answer import shown
from retrieval.search.heat_map import colours, overlay

if TYPE_CHECKING:
    from retrieval.base.placed_files import Placed, Root
    from retrieval.search.answer import Answer, AskedPart, Hit
    from retrieval.search.explain import Explanation, HeatMap

TILE = 144
"""Side of the square that a picture is drawn in, frame included, pixels."""
ROW = 12
"""Most hits beside one another; longer answers are broken into lines of equal length."""
PARTS = 9
"""Most parts of a question that are drawn."""
QUERIES = 200
"""Most queries in one picture: a taller one is more than viewers open."""

_FRAME = 5
_RADIUS = 9
_GAP = 16
_MARGIN = 28
_RULE = 44  # room for the line between the query and its hits
_CELL = TILE + 46  # a tile and the score and label under it
_HEAD = 30  # room above the first row: what the columns are

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".pdf": "PDF"}

Colour = tuple[int, int, int]

_PAPER = (255, 255, 255)
_MAT = (240, 241, 243)
_INK = (31, 35, 40)
_FAINT = (124, 130, 138)
_LINE = (216, 220, 225)
_RIGHT = (28, 143, 70)
_WRONG = (214, 48, 49)
_QUERY = (52, 62, 78)
_PLAIN = (202, 207, 214)


def draw_answers(answers: Sequence[Answer], root: Root, out: str | Path) -> int:
    """Draw answers as rows of pictures and write them to one file.

    A hit stands in a green frame where its label is the query's, in a red one where it is another, and in a grey
    one where either is unknown. Under each picture stand its score, P(match) in a calibrated index, and its group,
    its label or, where it has neither, its name,
    under the query its label and name. A file that is gone or cannot be read is drawn as an empty tile that says
    why.

    Args:
        answers: one a query, as :class:`retrieval.search.search.Search` gives them.
        root: what opens the files of the hits, ``index.pictures``.
        out: the file to write; its ending says the format (``.png``, ``.jpg``, ``.webp``, ``.pdf``).

    Returns:
        How many answers were drawn: at most :data:`QUERIES`.

    Raises:
        RetrievalError: there is no answer to draw, or ``out`` cannot be written.
    """
    if not answers:
        raise RetrievalError(f"There is no answer to draw in {out}; ask for at least one picture.")
    answers = answers[:QUERIES]
    longest = max(len(answer.hits) for answer in answers)
    columns = _columns(longest)
    head = _HEAD if longest == columns else 0  # a number above a column is a rank only where no answer is broken
    heights = [max(1, -(-len(answer.hits) // columns)) * (_CELL + _GAP) - _GAP for answer in answers]
    canvas = Image.new(
        "RGB",
        (_left(columns) - _GAP + _MARGIN, 2 * _MARGIN + head + sum(heights) + 2 * _GAP * (len(answers) - 1)),
        _PAPER,
    )
    draw = ImageDraw.Draw(canvas)
    if head:
        _centred(draw, "query", _MARGIN, _MARGIN, 15, _FAINT)
        for column in range(columns):
            _centred(draw, str(column + 1), _left(column), _MARGIN, 15, _FAINT)
    y = _MARGIN + head
    for answer, height in zip(answers, heights, strict=True):
        _query(canvas, answer, y)
        line = _MARGIN + TILE + _RULE // 2
        draw.line([(line, y), (line, y + height - 1)], fill=_LINE, width=2)
        for position, hit in enumerate(answer.hits):
            row, column = divmod(position, columns)
            _hit(canvas, hit, root, _left(column), y + row * (_CELL + _GAP))
        y += height + 2 * _GAP
    _write(canvas, Path(out))
    return len(answers)


def draw_explanations(
    answers: Sequence[Answer],
    explanations: Sequence[Sequence[Explanation | None]],
    root: Root,
    out: str | Path,
) -> int:
    """Draw answers with what makes each hit one, and write them to one file.

    As :func:`draw_answers`, and under each hit the parts of it that are like the query, and the parts of the query
    that are like it: red ones raise the score, blue ones lower it. One colour scale serves all hits of an answer and
    stands beside them.

    Args:
        answers: one a query, of pictures.
        explanations: for each answer what :func:`retrieval.search.explain.explain_answer` gives.
        root: what opens the files of the hits, ``index.pictures``.
        out: the file to write; its ending says the format (``.png``, ``.jpg``, ``.webp``, ``.pdf``).

    Returns:
        How many answers were drawn: at most a third of :data:`QUERIES`.

    Raises:
        RetrievalError: there is no answer to draw, or ``out`` cannot be written.
    """
    if not answers:
        raise RetrievalError(f"There is no answer to draw in {out}; ask for at least one picture.")
    answers = answers[: QUERIES // 3]
    columns = _columns(max(len(answer.hits) for answer in answers))
    line = _CELL + _FRAME + 2 * (TILE + _GAP) - _GAP
    heights = [max(1, -(-len(answer.hits) // columns)) * (line + 2 * _GAP) - 2 * _GAP for answer in answers]
    canvas = Image.new(
        "RGB",
        (_left(columns) - _GAP + _MARGIN, 2 * _MARGIN + sum(heights) + 3 * _GAP * (len(answers) - 1)),
        _PAPER,
    )
    draw = ImageDraw.Draw(canvas)
    y = _MARGIN
    for answer, whys, height in zip(answers, explanations, heights, strict=False):
        _query(canvas, answer, y)
        rule = _MARGIN + TILE + _RULE // 2
        draw.line([(rule, y), (rule, y + height - 1)], fill=_LINE, width=2)
        limit = max(
            (float(abs(one.values).max()) for why in whys if why for one in (why.query_map, why.hit_map)), default=1
        )
        _legend(canvas, whys, limit, y + _CELL + _FRAME)
        for position, (hit, why) in enumerate(zip(answer.hits, whys, strict=True)):
            row, column = divmod(position, columns)
            x, top = _left(column), y + row * (line + 2 * _GAP)
            _hit(canvas, hit, root, x, top)
            for place, (path, box, heat) in enumerate(_pair(answer, hit, why, root)):
                tile = _note("not explained", 15, _FAINT) if path is None else _thumbnail(path, heat, limit, box)
                _paste(canvas, tile, _PLAIN, x, top + _CELL + _FRAME + place * (TILE + _GAP))
        y += height + 3 * _GAP
    _write(canvas, Path(out))
    return len(answers)


def _pair(
    answer: Answer, hit: Hit, why: Explanation | None, root: Root
) -> tuple[tuple[Path | Placed | None, images.Box | None, HeatMap | None], ...]:
    """What is drawn under a hit: the hit and its map, the query and its map."""
    if why is None:
        return ((None, None, None), (None, None, None))
    return ((root / hit.path, None, why.hit_map), (answer.picture, answer.box, why.query_map))


def _legend(canvas: Image.Image, whys: Sequence[Explanation | None], limit: float, y: int) -> None:
    """What the rows of maps are, left of them, and their colours."""
    draw = ImageDraw.Draw(canvas)
    methods = {why.method for why in whys if why}
    unit = "what the score loses\nwithout the place" if methods == {"occlusion"} else "each cell's part\nof the score"
    middle = _MARGIN + TILE / 2
    font = _font("", 15)
    for text, top in (
        ("the hit, where\nit is like the query", y),
        ("the query, where\nit is like the hit", y + TILE + _GAP),
    ):
        draw.multiline_text((middle, top + 2), text, font=font, fill=_INK, anchor="ma", align="center", spacing=5)
    bar = Image.fromarray((255 * colours(np.linspace(-1, 1, TILE))).round().astype(np.uint8)[None])
    bar = bar.resize((TILE, 14))
    top = y + TILE + _GAP + TILE - 66
    canvas.paste(bar, (_MARGIN, top))
    for at, value, anchor in ((0, -limit, "la"), (TILE / 2, 0.0, "ma"), (TILE, limit, "ra")):
        draw.text((_MARGIN + at, top + 18), f"{value:.2g}", font=_font("", 13), fill=_FAINT, anchor=anchor)
    draw.multiline_text(
        (middle, top + 36), unit, font=_font("", 13), fill=_FAINT, anchor="ma", align="center", spacing=4
    )


def _columns(hits: int) -> int:
    """How many hits stand in one line, so that all lines of the longest answer are about equally long."""
    lines = max(1, -(-hits // ROW))
    return max(1, -(-hits // lines))


def _left(column: int) -> int:
    return _MARGIN + TILE + _RULE + column * (TILE + _GAP)


def _query(canvas: Image.Image, answer: Answer, y: int) -> None:
    draw = ImageDraw.Draw(canvas)
    if len(answer.parts) > 1 or any(one.sign < 0 for one in answer.parts):
        _parts(canvas, answer.parts, y)
        return
    if answer.picture is None:
        _paste(canvas, _note(answer.query, 17, _INK), _QUERY, _MARGIN, y)
        return
    _paste(canvas, _thumbnail(answer.picture, box=answer.box), _QUERY, _MARGIN, y)
    name = printable(answer.picture.name) + ("" if answer.box is None else f"#{answer.box}")
    if answer.label is None:
        _centred(draw, name, _MARGIN, y + TILE + 7, 15, _INK)
    else:
        _centred(draw, answer.label, _MARGIN, y + TILE + 6, 17, _INK)
        _centred(draw, name, _MARGIN, y + TILE + 28, 13, _FAINT)


def _parts(canvas: Image.Image, parts: Sequence[AskedPart], y: int) -> None:
    """Several parts in the room of one query: those that hits are to be unlike in red and crossed out, and weights that
    are not 1 at their feet."""
    side = math.ceil(math.sqrt(min(len(parts), PARTS)))
    step = TILE // side
    inner = step - 4
    for place, asked in enumerate(parts[:PARTS]):
        part, colour = asked.part, _QUERY if asked.sign > 0 else _WRONG
        if asked.picture is None:
            words = str(part.value) if part.kind == "text" else part.named
            picture = _note(printable(words), 17 if side == 1 else 12, _INK, inner)
        else:
            picture = _thumbnail(asked.picture, box=part.box, inner=inner)
        tile = Image.new("RGB", (inner, inner), _MAT)
        tile.paste(picture, ((inner - picture.width) // 2, (inner - picture.height) // 2))
        draw = ImageDraw.Draw(tile)
        if asked.sign < 0:
            draw.line([(0, inner), (inner, 0)], fill=colour, width=2)
        if part.weight != 1:
            draw.text(
                (inner - 3, inner - 2), f"@{part.weight:.3g}", _PAPER, _font("", 12), "rd", stroke_width=2,
                stroke_fill=_INK,
            )  # fmt: skip
        draw.rectangle((0, 0, inner - 1, inner - 1), outline=colour, width=2)
        row, column = divmod(place, side)
        canvas.paste(tile, (_MARGIN + column * step + 2, y + row * step + 2))
    draw = ImageDraw.Draw(canvas)
    unlike = sum(asked.sign < 0 for asked in parts)
    said = [f"{len(parts) - unlike} like"] * (unlike < len(parts)) + [f"{unlike} unlike"] * (unlike > 0)
    _centred(draw, ", ".join(said), _MARGIN, y + TILE + 7, 15, _INK)


def _hit(canvas: Image.Image, hit: Hit, root: Root, x: int, y: int) -> None:
    draw = ImageDraw.Draw(canvas)
    frame, ink = {True: (_RIGHT, _RIGHT), False: (_WRONG, _WRONG), None: (_PLAIN, _FAINT)}[hit.relevant]
    _paste(canvas, _thumbnail(root / hit.path), frame, x, y)
    chance = "" if hit.probability is None else f"   P {shown(hit.probability, 2)}"
    _centred(draw, f"{hit.score:.3f}{chance}", x, y + TILE + 6, 17, _INK)
    under = hit.group or (hit.label if hit.label is not None else PurePosixPath(hit.path).name)
    _centred(draw, under, x, y + TILE + 27, 15, ink)


def _thumbnail(
    path: Path | Placed,
    heat: HeatMap | None = None,
    limit: float | None = None,
    box: images.Box | None = None,
    inner: int = TILE - 2 * _FRAME,
) -> Image.Image:
    """One picture, or a part of it, as large as a tile lets it be, under its map if it has one; a few words in place of
    one that cannot be read."""
    try:
        picture = images.open_picture(path, size=inner, mode="RGB", box=box)
    except images.UnreadableImage as problem:
        return _note(problem.reason, 15, _FAINT, inner)
    scale = inner / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # Lanczos both ways: enlarging a 32×32 picture by repeating its pixels shows the blocks, not the thing.
    tile = picture.resize(size, Image.Resampling.LANCZOS)
    return tile if heat is None else overlay(tile, heat, limit)


def _note(text: str, size: int, ink: Colour, inner: int = TILE - 2 * _FRAME) -> Image.Image:
    """A square with a few words."""
    tile = Image.new("RGB", (inner, inner), _MAT)
    font = _font(text, size)
    letters = max(6, int((inner - 12) / font.getlength("n")))
    lines = textwrap.wrap(text, letters, max_lines=5, placeholder=" …", break_long_words=False)
    body = "\n".join(_shortened(line, font, inner - 12) for line in lines)
    ImageDraw.Draw(tile).multiline_text(
        (inner / 2, inner / 2), body, font=font, fill=ink, anchor="mm", align="center", spacing=5
    )
    return tile


def _paste(canvas: Image.Image, picture: Image.Image, frame: Colour, x: int, y: int) -> None:
    """Set a picture in a frame with round corners into the middle of the tile at x, y."""
    size = (picture.width + 2 * _FRAME, picture.height + 2 * _FRAME)
    framed = Image.new("RGB", size)
    framed.paste(picture, (_FRAME, _FRAME))
    framed.paste(frame, (0, 0), _rounded(size, _FRAME, ground=255))
    canvas.paste(framed, (x + (TILE - size[0]) // 2, y + (TILE - size[1]) // 2), _rounded(size, 0, ground=0))


@lru_cache(maxsize=64)
def _rounded(size: tuple[int, int], inset: int, ground: int) -> Image.Image:
    """A mask: `ground` outside of a rectangle with round corners, its contrary inside.

    Drawn at four times the size and reduced, since Pillow's own corners are jagged.
    """
    large = Image.new("L", (4 * size[0], 4 * size[1]), ground)
    box = (4 * inset, 4 * inset, 4 * (size[0] - inset) - 1, 4 * (size[1] - inset) - 1)
    ImageDraw.Draw(large).rounded_rectangle(box, 4 * (_RADIUS - inset), fill=255 - ground)
    return large.reduce(4)


def _centred(draw: ImageDraw.ImageDraw, text: str, x: int, y: int, size: int, ink: Colour) -> None:
    """One line under a tile, shortened in the middle where it is wider than the tile."""
    font = _font(text, size)
    draw.text((x + TILE / 2, y), _shortened(text, font, TILE + _GAP - 6), font=font, fill=ink, anchor="ma")


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    keep = len(text) - 1
    while keep > 2 and font.getlength(_cut(text, keep)) > width:
        keep -= 1
    return _cut(text, keep)


def _cut(text: str, keep: int) -> str:
    return f"{text[: keep - keep // 2]}…{text[len(text) - keep // 2 :]}"


def _font(text: str, size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own face for Latin text; DejaVu, which matplotlib ships, for alphabets that it lacks."""
    return _face(size, wide=any(ord(letter) > 0x24F and letter not in "…‘’“”" for letter in text))


@lru_cache(maxsize=16)
def _face(size: int, wide: bool) -> ImageFont.FreeTypeFont:
    if wide:
        found = importlib.util.find_spec("matplotlib")  # the file alone: importing matplotlib takes a second
        if found is not None and found.origin is not None:
            return ImageFont.truetype(
                Path(found.origin).with_name("mpl-data") / "fonts" / "ttf" / "DejaVuSans.ttf", size
            )
    face = ImageFont.load_default(size)
    if not isinstance(face, ImageFont.FreeTypeFont):
        raise RetrievalError("Pillow was built without FreeType and cannot draw text; install pillow from PyPI.")
    return face


def _write(canvas: Image.Image, out: Path) -> None:
    content = io.BytesIO()
    try:
        canvas.save(content, format=_FORMATS[out.suffix.lower()], quality=90)
        out.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError, KeyError):
        raise RetrievalError(
            f"The picture of the results could not be written to {printable(out)!r}; "
            "name a .png, .jpg, .webp or .pdf file in a folder that can be written to."
        ) from None
    write_durably(out, content.getvalue())
