"""Thumbnails and files over a socket: what is shown, and above all what is not."""

from __future__ import annotations

import io
import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tiny
from odd_files import HEIC, saved
from PIL import Image, ImageChops

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from served import form, serving, until

from retrieval.index import Index, NewItem
from retrieval.ingest import build
from retrieval.search.explain import explain_answer
from retrieval.search.heat_map import overlay
from retrieval.search.search import Search
from retrieval.service import limits, pictures
from retrieval.service.pictures import DiskCache
from retrieval.service.uploads import Uploads, plain_name

if TYPE_CHECKING:
    from served import Served


def id_of(index: Path, path: str) -> int:
    with Index.open(index) as opened:
        item = opened.find(path)
        assert item is not None
        return item.id


@pytest.fixture
def own(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Pictures of one's own, to be damaged, and their index."""
    root = tiny.folder(tmp_path / "own", each=2)
    exif = Image.Exif()
    exif[0x010F] = "SECRET CAMERA"
    exif[0x0112] = 6  # turned
    tiny.picture(5, 400, 200).save(root / "cat" / "large.jpg", exif=exif, comment=b"SECRET COMMENT")
    build(root, tmp_path / "index", model=tiny.model(tmp_path_factory), threads=1)
    return root, tmp_path / "index"


def test_a_thumbnail_has_the_size_asked_for_and_no_metadata(own: tuple[Path, Path], tmp_path: Path) -> None:
    root, index = own
    with serving(index, cache=tmp_path / "cache") as service:
        path = f"/items/{id_of(index, 'cat/large.jpg')}"
        small = service("GET", path + "/thumbnail?s=100")
        assert small.headers["content-type"] == "image/jpeg"
        picture = Image.open(io.BytesIO(small.body))
        assert picture.size == (64, 128)  # upright
        assert b"SECRET" not in small.body
        assert not picture.getexif()
        (kept,) = [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
        assert kept.read_bytes() == small.body
        kept.write_bytes(b"from the cache")
        assert service("GET", path + "/thumbnail?s=128").body == b"from the cache"
        again = service("GET", path + "/thumbnail?s=128", headers={"If-None-Match": small.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        whole = service("GET", path + "/image")
        assert whole.body == (root / "cat" / "large.jpg").read_bytes()
        assert (whole.headers["content-type"], "inline" in whole.headers["content-disposition"]) == ("image/jpeg", True)
        told = service("GET", path).json
        assert (told["served"], told["width"], told["colour"] is not None) == (True, 200, True)
        for wrong in ("?s=0", "?s=100000", "?s=x"):
            assert service.problem("GET", path + "/thumbnail" + wrong)[0] == 422
        assert service.problem("GET", "/items/777/thumbnail")[0] == 404


def test_a_mean_colour_is_known_also_where_another_service_made_the_thumbnail(
    own: tuple[Path, Path], tmp_path: Path
) -> None:
    _, index = own
    path = f"/items/{id_of(index, 'cat/large.jpg')}"
    means = []
    for _ in range(2):
        with serving(index, cache=tmp_path / "cache") as service:
            assert service("GET", path).json["colour"] is None
            assert service("GET", path + "/thumbnail").status == 200
            colour = service("GET", path).json["colour"]
            means.append([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    assert np.abs(np.subtract(*means)).max() <= 3


def test_a_file_that_has_changed_is_shown_and_not_kept(own: tuple[Path, Path], tmp_path: Path) -> None:
    root, index = own
    tiny.picture(9, 50, 50).save(root / "cat" / "0.png")
    with serving(index, cache=tmp_path / "cache") as service:
        small = service("GET", f"/items/{id_of(index, 'cat/0.png')}/thumbnail")
        assert (small.status, small.headers["cache-control"], "etag" in small.headers) == (200, "no-store", False)
        assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


def test_what_lies_elsewhere_or_is_no_picture_is_not_shown(own: tuple[Path, Path], tmp_path: Path) -> None:
    """Links out of the folder, paths out of it, secrets under a picture's name, and files that are gone."""
    root, index = own
    secret = tmp_path / "secret.png"
    shutil.copy(root / "cat" / "0.png", secret)
    ids = {name: id_of(index, name) for name in ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")}
    (root / "cat" / "0.png").unlink()
    (root / "cat" / "0.png").symlink_to(secret)
    (root / "cat" / "1.png").unlink()
    (root / "dog" / "0.png").write_text("root:x:0:0")
    with Index.open(index, write=True) as opened:  # as a stranger's catalog may say
        (item,) = opened.items([ids["dog/1.png"]])
        new = NewItem(item.path, item.label, item.width, item.height, item.size, item.mtime_ns, item.sha256)
        opened.update({item.id: replace(new, path="../secret.png")})
    expected = {"cat/0.png": (403, "link out"), "cat/1.png": (404, "no such file"), "dog/1.png": (403, "outside")}
    with serving(index) as service:
        for name, (status, words) in expected.items():
            for what in ("image", "thumbnail"):
                said, detail = service.problem("GET", f"/items/{ids[name]}/{what}")
                assert (said, words in detail) == (status, True), (name, what, detail)
                assert str(tmp_path) not in detail
            assert service("GET", f"/items/{ids[name]}").json["served"] is False
        assert service.problem("GET", f"/items/{ids['dog/0.png']}/image")[0] == 403
        status, detail = service.problem("GET", f"/items/{ids['dog/0.png']}/thumbnail")
        assert (status, "not a picture" in detail) == (422, True)


def hostile(photos: Path) -> dict[str, bytes]:
    good = (photos / "cat" / "0.png").read_bytes()
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    return {
        "empty": b"",
        "text": b"GIF is what I am not",
        "cut off": good[: len(good) // 2],
        "header alone": good[:30],
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "bomb": bomb.getvalue(),
        "zeros": b"\x89PNG\r\n\x1a\n" + bytes(100_000),
        "script": b"#!/bin/sh\nid\n",
        "JPEG of nothing": b"\xff\xd8\xff\xe0" + b"\0" * 100,
    }  # fmt: skip


def test_hostile_uploads_are_a_sentence(served: Served, photos: Path) -> None:
    for what, data in hostile(photos).items():
        body, media = form([("a.png", data)])
        status, detail = served.problem("POST", "/search", body, media=media)
        assert (status, "'a.png' cannot be read" in detail) == (422, True), (what, detail)
    assert served("GET", "/healthz").status == 200


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "JPEG2000", "HEIC"])
def test_damaged_uploads_are_answered_or_refused(served: Served, kind: str, long: bool) -> None:
    """Bytes changed, cut off and repeated at random: an answer or a sentence, and never an error of the service."""
    rng = np.random.default_rng(sum(kind.encode()))
    whole = HEIC if kind == "HEIC" else saved(tiny.picture(1, 64, 48), kind)
    for turn in range(500 if long else 12):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 1 + turn % 5):
            data[place] = rng.integers(0, 256)
        start, stop = sorted(rng.integers(0, len(data), 2).tolist())
        if turn % 3 == 1:
            del data[stop:]
        elif turn % 3 == 2:
            data[start:start] = data[start:stop]
        body, media = form([(f"{turn}.png", bytes(data))])
        said = served("POST", "/search?k=1", body, media=media)
        assert said.status in (200, 422), (turn, said)
    assert served("GET", "/healthz").status == 200


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (b"", "multipart/form-data; boundary=B"),
        (b"--B\r\n", "multipart/form-data; boundary=B"),
        (b"x", "multipart/form-data"),
        (b"x", "multipart/form-data; boundary="),
        (b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--\r\n", "multipart/form-data; boundary=B"),
        (b'--B\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--B--', "multipart/form-data; boundary=B"),
        (form([])[0], "multipart/form-data; boundary=B"),
        (form([(str(n), b"x") for n in range(40)])[0], "multipart/form-data; boundary=B"),
        (form([("a", b"x")], json="{")[0], "multipart/form-data; boundary=B"),
        (b"--B\r\n" + b"A: b\r\n" * 10_000, "multipart/form-data; boundary=B"),
    ],
)  # fmt: skip
def test_forms_that_are_none(served: Served, body: bytes, media: str) -> None:
    assert served.problem("POST", "/search", body, media=media)[0] in (400, 422)


def test_uploads_are_forgotten_in_time_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("retrieval.service.uploads.time.monotonic", lambda: now[0])
    kept = Uploads(seconds=10, size=100)
    first, second = kept.put("a", b"a" * 40), kept.put("b", b"b" * 40)
    now[0] = 5
    assert kept.get(first.sha256) is first  # used last now
    kept.put("c", b"c" * 40)
    with pytest.raises(Exception, match="send it again"):
        kept.get(second.sha256)
    now[0] = 14
    assert kept.get(first.sha256).data == b"a" * 40
    now[0] = 25
    with pytest.raises(Exception, match="send it again"):
        kept.get(first.sha256)


def test_what_is_sent_at_a_time_is_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that sends slowly, and another that then finds no room."""
    body, media = form([("a.png", b"x" * 1000)])
    monkeypatch.setattr(limits, "ARRIVING", 2 * len(body) - 1)
    head = f"POST /uploads HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.server.port)) as slow:
        slow.sendall(head.encode() + body[:500])
        until(lambda: served("POST", "/uploads", body, media=media).status == 503)
        slow.sendall(body[500:])
        assert b" 201 " in slow.recv(4096)
    assert served("POST", "/uploads", body, media=media).status == 201


def test_names_of_uploads() -> None:
    assert plain_name("C:\\Users\\me\\a.jpg") == "a.jpg"
    assert plain_name("../../etc/passwd") == "passwd"
    assert plain_name("\x1b[31m\n\0") == "[31m"
    assert plain_name("") == plain_name("/") == "picture"
    assert len(plain_name("x" * 1000)) == 100


def test_the_cache_keeps_to_its_size_and_what_was_used_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DiskCache(tmp_path / "cache", 1000)
    now = [1e9]
    monkeypatch.setattr(pictures.time, "time", lambda: now[0])
    for number in range(30):
        now[0] += 10
        cache.put(str(number), bytes([number]) * 100)
        for file in (tmp_path / "cache").rglob("*"):  # in the order in which they came
            if file.is_file() and file.read_bytes()[:1] == bytes([number]):
                os.utime(file, (number, number))
    kept = [number for number in range(30) if cache.get(str(number)) is not None]
    assert kept == list(range(30 - len(kept), 30))
    assert 8 <= len(kept) <= 10
    assert sum(file.stat().st_size for file in (tmp_path / "cache").rglob("*") if file.is_file()) <= 1000


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = DiskCache(tmp_path / "file" / "cache", 1000)
    cache.put("a", b"a")
    assert cache.get("a") is None


def test_hidden_names_and_odd_names(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What files are called reaches headers and JSON unharmed."""
    root = tmp_path / "odd"
    root.mkdir()
    names = ['a"b;.png', "new\nline.png", "ü☃.png", "<script>.png", "%2e%2e.png"]
    for number, name in enumerate(names):
        tiny.picture(number).save(root / name)
    build(root, tmp_path / "index", model=tiny.model(tmp_path_factory), threads=1)
    with serving(tmp_path / "index") as service:
        found: list[dict[str, Any]] = service("GET", "/items").json["items"]
        assert sorted(item["path"] for item in found) == sorted(names)
        for item in found:
            said = service("GET", f"/items/{item['id']}/image")
            assert said.body == (root / item["path"]).read_bytes()


def test_the_heat_map_of_a_hit(served: Served, index: Path, photos: Path) -> None:
    """That of `explain`, over the hit or over the question, be that an item or a picture that was sent."""
    hit = id_of(index, "cat/3.png")
    body, media = form([("x.png", (photos / "dog" / "1.png").read_bytes())])
    sha256 = served("POST", "/uploads", body, media=media).json["uploads"][0]["sha256"]
    with Search.open(index) as search:
        (answer,) = search.query_paths(["dog/1.png"], 13)
        place = [one.id for one in answer.hits].index(hit)
        found = explain_answer(search, answer)[place]
        assert found is not None
    most = max(float(abs(one.values).max()) for one in (found.query_map, found.hit_map))
    for of, path, heat in (("hit", "cat/3.png", found.hit_map), ("query", "dog/1.png", found.query_map)):
        small = served("GET", f"/items/{id_of(index, path)}/thumbnail?s=64").body
        expected = overlay(Image.open(io.BytesIO(small)).convert("RGB"), heat, most)
        for query in ("path:dog/1.png", f"upload:{sha256}"):
            said = served("GET", f"/items/{hit}/heat?query={query}&of={of}&s=64")
            assert (said.status, said.headers["content-type"]) == (200, "image/png")
            drawn = Image.open(io.BytesIO(said.body))
            assert ImageChops.difference(drawn, expected).convert("L").getextrema()[1] <= 12  # JPEG, once more
    assert served.problem("GET", f"/items/{hit}/heat?query=text:dog")[0] == 400
    assert served.problem("GET", f"/items/{hit}/heat?query=id:777")[0] == 404
    assert served.problem("GET", f"/items/{hit}/heat")[0] == 422
