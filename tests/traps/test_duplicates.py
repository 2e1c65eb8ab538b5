"""Duplicates that were planted in folders and indexes are grouped, listed and shown, and nothing is touched."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import hashlib
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from small_sets import scene
from vectors import unit

from retrieval.cli import dedup
from retrieval.errors import RetrievalError
from retrieval.images import reading
from retrieval.images.perceptual import Hashes
from retrieval.index import Index, NewItem
from retrieval.places.folder import Folder
from retrieval.traps.duplicates.find import duplicates_of, find_duplicates
from retrieval.traps.duplicates.grouping import Known, grouped
from retrieval.traps.duplicates.page import write_page
from retrieval.traps.duplicates.photographs import OneFile
from retrieval.traps.duplicates.report import Duplicates


def fingerprint(root: Path) -> dict[str, tuple[str, int]]:
    """Every file below a folder: its content and its time."""
    return {
        str(path.relative_to(root)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve pictures; of two there are other versions and copies, and one file is no picture."""
    root = tmp_path / "photos"
    (root / "more").mkdir(parents=True)
    for seed in range(12):
        scene(seed, 96).save(root / f"{seed:02d}.png")
    shutil.copy(root / "03.png", root / "more" / "same.png")
    scene(3, 96).resize((48, 48)).save(root / "more" / "small.jpg", quality=80)
    scene(5, 96).resize((300, 200), Image.Resampling.BICUBIC).save(root / "more" / "large<b>.png")
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    Image.new("RGB", (50, 40), "white").save(root / "blank.png")
    Image.new("RGB", (60, 40), "grey").save(root / "blank2.png")
    return root


def index_of(root: Path, folder: Path, vectors: np.ndarray, names: list[str]) -> Path:
    with Index.create(folder, vectors.shape[1], root=str(root), encoder_hash="abc", details={}) as index:
        items = []
        for name in names:
            content = (root / name).read_bytes() if (root / name).is_file() else b""
            items.append(NewItem(name, None, 96, 96, len(content), 1, hashlib.sha256(content).hexdigest()))
        index.add(vectors, items)
    return folder


def test_planted_copies_are_grouped_around_the_largest(photos: Path) -> None:
    before = fingerprint(photos)
    found = find_duplicates(photos)
    assert [(group.kept.path, [copy.path for copy in group.copies]) for group in found.groups] == [
        ("03.png", ["more/same.png", "more/small.jpg"]),
        ("more/large<b>.png", ["05.png"]),
    ]
    exact, small = found.groups[0].copies
    assert (exact.kind, exact.bits, exact.score) == ("exact", 0, None)
    assert (small.kind, small.width, small.height) == ("hash", 48, 48)
    assert found.groups[1].kept.width == 300
    assert [one.path for one in found.skipped] == ["broken.jpg"]
    assert found.pictures == 17
    assert any(note.startswith("2 pictures have too little detail") for note in found.notes)
    assert fingerprint(photos) == before


def test_blank_pictures_are_duplicates_only_if_their_bytes_are(photos: Path) -> None:
    shutil.copy(photos / "blank.png", photos / "zz.png")
    groups = {group.kept.path: group for group in find_duplicates(photos).groups}
    assert [(copy.path, copy.kind) for copy in groups["blank.png"].copies] == [("zz.png", "exact")]


def test_threads_do_not_change_what_is_found(photos: Path) -> None:
    assert find_duplicates(photos, threads=1) == find_duplicates(photos, threads=4)


def test_fewer_bits_are_stricter(photos: Path) -> None:
    scene(7, 96).rotate(2).save(photos / "turned.png")
    counts = [len(find_duplicates(photos, bits=bits).could_go) for bits in (0, 10, 24)]
    assert counts == sorted(counts) and counts[0] >= 1 and counts[2] > counts[0]


def groups_of(vectors: np.ndarray, sizes: list[int]) -> Any:
    """Groups of pictures that are known by their vectors and the sizes of their files alone."""
    n = len(vectors)
    hashes = Hashes(*np.random.default_rng(0).integers(0, 2**64, (2, n), np.uint64), np.full(n, 20, np.float32))
    pictures = [reading.ReadPicture(None, 10, 10, size, 1, str(row)) for row, size in enumerate(sizes)]
    order = np.argsort(-(vectors @ vectors.T), axis=1, kind="stable")
    scores = np.take_along_axis(vectors @ vectors.T, order, axis=1)
    files = [OneFile(None, f"{row:03d}") for row in range(n)]
    return grouped(Known(Path("x"), Folder("x"), files, pictures, hashes, vectors, order, scores), (), [], 0.95, 10)


def test_a_chain_is_no_group() -> None:
    angles = np.deg2rad(np.arange(0, 91, 10))  # each is 0.985 like the next, and the last is nothing like the first
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = groups_of(vectors, sizes=[1, 1, 1, 9, 1, 1, 1, 8, 1, 1])
    assert {group.kept.path: {copy.path for copy in group.copies} for group in found.groups} == {
        "003": {"002", "004"},  # 20° would be 0.94
        "007": {"006", "008"},
        "000": {"001"},
    }
    for group in found.groups:
        for copy in group.copies:
            assert copy.kind == "embedding" and copy.score >= 0.95
            assert copy.score == pytest.approx(vectors[int(copy.path)] @ vectors[int(group.kept.path)])
    paths = [one.path for group in found.groups for one in (group.kept, *group.copies)]
    assert len(paths) == len(set(paths))


def test_the_best_picture_stays_and_the_closest_copy_comes_first() -> None:
    angles = np.deg2rad([0, 12, 5, 0.1])
    found = groups_of(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32), sizes=[5, 7, 9, 9])
    (group,) = found.groups
    assert (group.kept.path, [copy.path for copy in group.copies]) == ("002", ["003", "000", "001"])


def test_an_index_finds_by_its_vectors_what_hashes_do_not(photos: Path, tmp_path: Path) -> None:
    names = [f"{seed:02d}.png" for seed in range(12)]
    names += ["more/same.png", "broken.jpg", "/etc/hostname", "..", "<i>.png", "a\0b.png"]
    vectors = unit(len(names), 32)
    vectors[9] = vectors[8]  # a crop, say
    vectors[11] = vectors[13]  # that file cannot be read
    index_of(photos, tmp_path / "index", vectors, names)
    found = find_duplicates(tmp_path / "index")
    groups = {group.kept.path: group.copies for group in found.groups}
    assert {path: [(copy.path, copy.kind) for copy in copies] for path, copies in groups.items()} == {
        "03.png": [("more/same.png", "exact")],
        min(("08.png", "09.png"), key=lambda name: -(photos / name).stat().st_size): [
            (max(("08.png", "09.png"), key=lambda name: -(photos / name).stat().st_size), "embedding")
        ],
    }
    assert found.score == 0.95 and "score from 0.95" in found.table()
    assert [one.path for one in found.skipped] == names[13:]


def test_a_file_that_changed_since_is_judged_by_what_it_is_now(photos: Path, tmp_path: Path) -> None:
    names = [f"{seed:02d}.png" for seed in range(12)]
    vectors = unit(12, 32)
    vectors[9] = vectors[8]
    content = (photos / "03.png").read_bytes()
    index_of(photos, tmp_path / "index", vectors, names)
    (photos / "09.png").write_bytes(content)  # was like 08 when it was indexed, and is 03 now
    found = find_duplicates(tmp_path / "index")
    (group,) = found.groups
    assert (group.kept.path, [(copy.path, copy.kind) for copy in group.copies]) == ("03.png", [("09.png", "exact")])
    assert any("changed since they were indexed" in note for note in found.notes)


def test_a_model_makes_vectors_of_a_folder(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    from tiny import model

    found = find_duplicates(photos, model=model(tmp_path_factory), threads=1)
    assert found.score == 0.95
    kinds = {copy.path: copy.kind for copy in found.could_go}
    assert kinds["more/same.png"] == "exact"
    assert next(copy for copy in found.could_go if copy.path == "more/same.png").score == pytest.approx(1, abs=1e-6)


def offered(found: Duplicates) -> dict[str, str]:
    """What could go, and for what."""
    return {copy.path: group.kept.path for group in found.groups for copy in group.copies if not copy.keep}


def shown(found: Duplicates) -> dict[str, str | None]:
    """What is alike and stays, and why."""
    return {copy.path: copy.stays for group in found.groups for copy in group.copies if copy.keep}


def test_names_of_one_file_are_one_file(photos: Path, tmp_path: Path) -> None:
    (photos / "a_link.png").symlink_to("07.png")
    (photos / "hard.png").hardlink_to(photos / "08.png")
    scene(20, 96).save(tmp_path / "outside.png")
    shutil.copy(tmp_path / "outside.png", photos / "inside.png")
    (photos / "a_way_out.png").symlink_to(tmp_path / "outside.png")
    inside = find_duplicates(photos)
    assert shown(inside) == {} and inside.pictures == 17 + 1
    assert ("a_way_out.png", "a link out of the folder of the pictures") in inside.skipped
    before = find_duplicates(photos, outside=True)
    page = tmp_path / "page.html"
    write_page(before, page)
    assert page.read_text().count("<img") == sum(1 + len(group.copies) for group in before.groups)
    (photos / "inside.png").unlink()  # and in its place a link out, made after the look
    (photos / "inside.png").symlink_to(tmp_path / "outside.png")
    write_page(dataclasses.replace(before, places=(Folder(photos),)), page)
    assert page.read_text().count("cannot be read any more") == 2
    (photos / "inside.png").unlink()
    shutil.copy(tmp_path / "outside.png", photos / "inside.png")
    assert "inside.png" not in offered(before) and "a_link.png" not in offered(before)
    assert shown(before) == {"a_way_out.png": "it is only reached by a link"}
    assert before.pictures == 17 + 2  # 17 as ever, the one inside and the one outside; two names are no pictures
    assert any(note.startswith("2 names are other names") for note in before.notes)
    # A copy of a file of two names: one of the names would leave the other behind, or a link that leads nowhere.
    scene(7, 96).resize((200, 200)).save(photos / "07_large.png")
    found = find_duplicates(photos)
    assert shown(found)["07.png"] == "it has other names"
    (copy,) = (copy for group in found.groups for copy in group.copies if copy.path == "07.png")
    assert copy.names == ("a_link.png",) and "07.png" not in offered(found)


def test_what_has_names_elsewhere_frees_nothing(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "backup.png").hardlink_to(photos / "more" / "same.png")
    found = find_duplicates(photos)
    freed = {copy.path: copy.frees for copy in found.could_go}
    assert freed["more/same.png"] == 0 < freed["more/small.jpg"]
    assert found.to_json()["could_go_bytes"] == sum(freed.values())


def test_an_index_keeps_nothing_of_a_recycle_bin(photos: Path, tmp_path: Path) -> None:
    names = [f"{seed:02d}.png" for seed in range(12)]
    for number, folder in enumerate(("#recycle", "$RECYCLE.BIN", "more/@eaDir/x", ".Trash-1000", "LOST+FOUND")):
        (photos / folder).mkdir(parents=True)
        scene(number, 96).resize((200, 200)).save(photos / folder / "large.png")  # larger: the rule would keep it
        names.append(f"{folder}/large.png")
    index_of(photos, tmp_path / "index", unit(len(names), 32), names)
    found = find_duplicates(tmp_path / "index")
    assert found.groups == () and found.pictures == 12
    assert any(note.startswith("5 pictures lie in recycle bins") for note in found.notes)


def test_what_is_hidden_neither_goes_nor_stands_for_anything(photos: Path, tmp_path: Path) -> None:
    names = ["01.png", "02.png", ".cache/large.png", ".cache/small.png"]
    (photos / ".cache").mkdir()
    scene(1, 96).resize((200, 200)).save(photos / ".cache" / "large.png")
    scene(2, 96).resize((50, 50)).save(photos / ".cache" / "small.png")
    found = find_duplicates(index_of(photos, tmp_path / "index", np.ones((4, 1), np.float32), names))
    assert {group.kept.path for group in found.groups} == {"01.png", "02.png"}
    assert offered(found) == {} and set(shown(found).values()) == {"it is hidden"}


def judged(score: float, bits: int, detail: float = 20, **options: Any) -> Duplicates:
    """Two pictures of such a score, hashes so many bits apart, and so much detail."""
    angle = np.arccos(score)
    vectors = np.array([[1, 0], [np.cos(angle), np.sin(angle)]], np.float32)
    codes = np.array([0, 2**bits - 1], np.uint64)
    hashes = Hashes(codes, codes, np.full(2, detail, np.float32))
    pictures = [reading.ReadPicture(None, 10, 10, 9 - row, 1, str(row)) for row in range(2)]
    files = [OneFile(None, "a"), OneFile(None, "b")]
    neighbours, scores = np.array([[1], [0]]), np.full((2, 1), score, np.float32)
    return grouped(
        Known(Path("x"), Folder("x"), files, pictures, hashes, vectors, neighbours, scores), (), [], 0.95, 10, **options
    )


def test_both_looks_must_agree() -> None:
    assert offered(judged(0.99, 3)) == {"b": "a"}
    assert (offered(judged(0.8, 3)), shown(judged(0.8, 3))) == ({}, {"b": "its score is below 0.95"})
    assert (offered(judged(0.99, 30)), shown(judged(0.99, 30))) == ({}, {"b": "its hashes are over 10 bits apart"})
    assert judged(0.8, 30).groups == ()
    assert judged(1.0, 0, detail=0.1).groups == ()  # next to no detail: not judged, however well the vectors fit
    assert "too little detail to be judged" in judged(1.0, 0, detail=0.1).table()


def test_icons_are_no_copies_of_each_other(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    from tiny import model

    root = tmp_path / "icons"
    root.mkdir()
    for corners in range(3, 7):
        icon = Image.new("RGBA", (120, 120), (255, 255, 255, 0))
        ImageDraw.Draw(icon).regular_polygon((60, 60, 45), corners, fill=(255, 255, 255, 255))
        icon.save(root / f"{corners}.png")
    for seed in range(6):
        scene(seed, 96).save(root / f"scene{seed}.png")
    found = find_duplicates(root, model=model(tmp_path_factory), threads=1)
    assert not {f"{corners}.png" for corners in range(3, 7)} & {*offered(found), *shown(found)}


def test_copies_of_each_other_are_counted_as_exact(photos: Path) -> None:
    shutil.copy(photos / "more" / "small.jpg", photos / "more" / "small2.jpg")  # both are copies of 03.png by hash
    found = find_duplicates(photos)
    (twin,) = (copy for copy in found.could_go if copy.same_as == "more/small.jpg")
    assert (twin.path, twin.kind, twin.how) == ("more/small2.jpg", "hash", "exact")
    assert found.to_json()["could_go_by_kind"] == {"exact": 2, "hash": 2}


def test_the_rule_says_which_stays(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert offered(find_duplicates(photos))["05.png"] == "more/large<b>.png"
    os.utime(photos / "05.png", (1, 1))
    assert offered(find_duplicates(photos, keep="oldest"))["more/large<b>.png"] == "05.png"
    os.utime(photos / "05.png")
    monkeypatch.chdir(photos.parent)
    for folder in ("more", photos / "more", "photos/more/"):
        found = find_duplicates(photos, keep=str(folder))
        assert {"03.png": "more/same.png", "05.png": "more/large<b>.png"}.items() <= offered(found).items()
    for rule in ("smallest", "nowhere", "/", ".."):
        with pytest.raises(RetrievalError, match="give one of them to --keep"):
            find_duplicates(photos, keep=rule)


def test_some_of_an_open_index_in_the_order_that_somebody_said(photos: Path, tmp_path: Path) -> None:
    names = ["03.png", "more/same.png", "more/small.jpg", "05.png", "more/large<b>.png", "07.png"]
    vectors = np.eye(8, dtype=np.float32)[[0, 0, 0, 1, 1, 2]]
    folder = index_of(photos, tmp_path / "index", vectors, names)
    with Index.open(folder) as index:
        assert offered(duplicates_of(index)) == offered(find_duplicates(folder))
        ids = index.ids()
        some = duplicates_of(index, among=ids[2:], threads=1)
        assert (some.pictures, offered(some)) == (4, {"05.png": "more/large<b>.png"})
        said = duplicates_of(index, among=ids[[0, 1, 3, 4]], ranks={"05.png": -1, "03.png": 1})
        assert offered(said) == {"more/large<b>.png": "05.png", "03.png": "more/same.png"}
        assert not duplicates_of(index, among=ids[:1]).groups


def test_new_pictures_against_a_folder(photos: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    scene(4, 96).resize((300, 300)).save(new / "larger.png")  # the reference stays even so
    scene(40, 96).save(new / "new.png")
    shutil.copy(new / "new.png", new / "new_twin.png")  # not in the reference: both are new
    shutil.copy(photos / "03.png", new / "same.png")
    found = find_duplicates(new, against=photos)
    assert found.pictures == 4 and found.against == photos.resolve()
    kept = offered(found)
    assert kept["larger.png"] == str(photos / "04.png")
    assert Path(kept["same.png"]).read_bytes() == (new / "same.png").read_bytes() and set(kept) == {
        "larger.png",
        "same.png",
    }
    assert next(copy.kind for copy in found.could_go if copy.path == "same.png") == "exact"
    with pytest.raises(RetrievalError, match="leave that out"):
        find_duplicates(new, against=photos, keep="oldest")
    with pytest.raises(RetrievalError, match="with itself"):
        find_duplicates(photos, against=photos)


def test_a_folder_inside_the_reference_and_the_other_way_round(photos: Path) -> None:
    assert set(offered(find_duplicates(photos / "more", against=photos))) == {
        "same.png",
        "small.jpg",
        "large<b>.png",
    }
    assert offered(find_duplicates(photos, against=photos / "more")).keys() == {"03.png", "05.png"}
    (photos / "more" / "hard.png").hardlink_to(photos / "09.png")  # the file itself, and no copy of it
    assert "09.png" not in offered(find_duplicates(photos, against=photos / "more"))


def test_new_pictures_against_an_index(photos: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    from tiny import model

    from retrieval.ingest import build

    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(photos / "06.png", new / "same.png")
    scene(41, 96).save(new / "other.png")
    for storage in ("float32", "binary"):
        build(photos, tmp_path / storage, model=model(tmp_path_factory), threads=1, vectors=storage)
        found = find_duplicates(new, against=tmp_path / storage)
        assert offered(found) == {"same.png": str(photos / "06.png")}
        (copy,) = found.could_go
        assert copy.score == pytest.approx(1, abs=1e-5) and found.score == 0.95
    index_of(photos, tmp_path / "bare", unit(12, 32), [f"{seed:02d}.png" for seed in range(12)])
    bare = find_duplicates(new, against=tmp_path / "bare")
    assert offered(bare) == {"same.png": str(photos / "06.png")} and any("no encoder" in note for note in bare.notes)
    with pytest.raises(RetrievalError, match="give the folder of new pictures"):
        find_duplicates(tmp_path / "bare", against=photos)
    with pytest.raises(RetrievalError, match="leave --model out"):
        find_duplicates(new, against=tmp_path / "bare", model="m")


def test_one_photograph_in_several_files(photos: Path) -> None:
    shot, again = photos / "shot", photos / "again"
    shot.mkdir()
    scene(30, 96).save(shot / "IMG_1.JPG", quality=95)
    scene(30, 96).resize((80, 80)).save(shot / "IMG_1.png")  # of that stem, beside a RAW: another form of it
    (shot / "IMG_1.CR2").write_bytes(b"no picture that anybody reads here" * 9)
    (shot / "IMG_1.xmp").write_text("stars")
    (shot / "IMG_1.JPG.json").write_text("{}")
    (shot / "IMG_10.xmp").write_text("of another")
    scene(31, 96).save(shot / "IMG_2.jpg", quality=95)
    (shot / "IMG_2.MOV").write_bytes(b"moves")
    scene(33, 96).save(shot / "IMG_3.JPG", quality=95)
    for end, content in ((".HEIC", b"not decoded here, and still the same shot"), (".mov", b"m"), (".AAE", b"edits")):
        (shot / f"IMG_3{end}").write_bytes(content)
    scene(32, 96).save(shot / "x.jpg", quality=95)
    scene(32, 96).save(shot / "x.png")  # no RAW: two pictures
    (shot / "x.xmp").write_text("whose is it?")
    alone = find_duplicates(shot)
    assert len(offered(alone)) == 1 and offered(alone).keys() < {"x.jpg", "x.png"}
    assert alone.could_go[0].files == ()
    assert any(note.startswith("3 photographs are several files") for note in alone.notes)
    # Copied as a whole, both go as a whole.
    shutil.copytree(shot, again)
    found = find_duplicates(photos, keep="shot")
    files = {copy.path: copy.files for copy in found.could_go}
    assert files["again/IMG_1.JPG"] == (
        "again/IMG_1.CR2",
        "again/IMG_1.JPG.json",
        "again/IMG_1.png",
        "again/IMG_1.xmp",
    )
    assert files["again/IMG_2.jpg"] == ("again/IMG_2.MOV",)
    assert files["again/IMG_3.JPG"] == ("again/IMG_3.AAE", "again/IMG_3.HEIC", "again/IMG_3.mov")
    # A file of it is a copy of the whole, with the same bytes as its own part.
    shutil.copy(shot / "IMG_1.png", photos / "part.png")
    part = next(copy for copy in find_duplicates(photos, keep="shot").could_go if copy.path == "part.png")
    assert (part.kind, part.same_as) == ("exact", "shot/IMG_1.png")
    assert next(copy.kind for copy in found.could_go if copy.path == "again/IMG_1.JPG") == "exact"
    # Another RAW, or another film, is no copy; and what has the RAW stays before what has not, however large that is.
    (again / "IMG_1.CR2").write_bytes(b"a picture that nobody reads anywhere" * 9)
    (again / "IMG_2.MOV").unlink()
    scene(30, 96).resize((500, 500)).save(photos / "export.png")
    kept = offered(find_duplicates(photos, keep="again"))
    assert kept["export.png"] == "again/IMG_1.JPG" and not {"shot/IMG_1.JPG", "shot/IMG_2.jpg"} & kept.keys()
    stays = shown(find_duplicates(photos, keep="again"))
    assert stays["shot/IMG_2.jpg"] == "'IMG_2.MOV' is not there a second time"


def test_a_raw_that_is_read_as_a_picture_is_still_no_copy_of_another(tmp_path: Path) -> None:
    preview = io.BytesIO()
    scene(50, 96).save(preview, "JPEG", quality=90)
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        raw = b"II*\0\x10\0\0\0CR\2\0" + bytes(64) + preview.getvalue() + b"sensor"
        (tmp_path / folder / "IMG.CR2").write_bytes(raw + b"of another moment" * (folder == "c"))
        scene(50, 96).save(tmp_path / folder / "IMG.JPG", quality=95)
    found = find_duplicates(tmp_path)
    assert found.pictures == 6 and found.skipped == ()  # raw files are read by their previews
    assert offered(found) == {"b/IMG.JPG": "a/IMG.JPG"}
    assert shown(found) == {"c/IMG.JPG": "'IMG.CR2' is not there a second time"}
    assert offered(find_duplicates(tmp_path, keep="c")) == {"b/IMG.JPG": "a/IMG.JPG"}


def run(*argv: object) -> int:
    parser = argparse.ArgumentParser()
    dedup.add_arguments(parser)
    return dedup.run(parser.parse_args([str(one) for one in argv]))


def test_the_verb_prints_a_table_and_writes_page_and_list(photos: Path, tmp_path: Path, capsys) -> None:
    before = fingerprint(photos)
    assert run(photos, "--page", tmp_path / "look.html", "--list", tmp_path / "copies.csv") == 0
    table = capsys.readouterr().out
    assert "17 pictures, 2 groups of near-duplicates with 5 pictures. Nothing was changed." in table
    with (tmp_path / "copies.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["group"], row["path"], row["kind"], row["keep"]) for row in rows] == [
        ("1", "03.png", "", "yes"),
        ("1", "more/same.png", "exact", "no"),
        ("1", "more/small.jpg", "hash", "no"),
        ("2", "more/large<b>.png", "", "yes"),
        ("2", "05.png", "hash", "no"),
    ]
    assert int(rows[0]["size"]) == (photos / "03.png").stat().st_size
    assert (rows[3]["width"], rows[3]["height"]) == ("300", "200")
    page = (tmp_path / "look.html").read_text()
    assert page.count('src="data:image/jpeg;base64,') == page.count("<img ") == 5
    assert "http://" not in page and "https://" not in page and "<script" not in page
    assert "large&lt;b&gt;.png" in page and "<b>.png" not in page
    assert page.count(' alt="') == 5 and "prefers-color-scheme: dark" in page
    assert fingerprint(photos) == before


def test_list_page_and_json_say_the_same(photos: Path, tmp_path: Path, capsys) -> None:
    (photos / "link.png").symlink_to("03.png")
    (photos / "05.xmp").write_text("stars")
    (photos / "more" / "odd\r\nname.png").write_bytes((photos / "06.png").read_bytes())
    (photos / "07_again.png").write_bytes((photos / "07.png").read_bytes())
    (photos / "07_other.png").hardlink_to(photos / "07_again.png")
    shutil.copy(photos / "more" / "small.jpg", photos / "more" / "small2.jpg")
    assert run(photos, "--json", "--page", tmp_path / "look.html", "--list", tmp_path / "copies.csv") == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    with (tmp_path / "copies.csv").open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    page = (tmp_path / "look.html").read_text()
    told = {one["path"]: one for group in groups for one in (group["keep"], *group["copies"])}
    assert told.keys() == rows.keys() and len(told) == len(groups) + sum(len(group["copies"]) for group in groups)
    for path, one in told.items():
        row = rows[path]
        assert (row["stays"], row["same_as"], row["kind"]) == (
            *(one[key] or "" for key in ("stays", "same_as", "kind")),
        )
        assert [json.loads(row[key] or "[]") for key in ("names", "files")] == [one["names"], one["files"]]
        assert (row["keep"] == "no") == (one["kind"] is not None and one["stays"] is None)
    assert told["03.png"]["names"] == ["link.png"] and "also named link.png" in page
    assert told["05.png"]["files"] == ["05.xmp"] and "with 05.xmp" in page
    assert told["07_again.png"]["stays"] == "it has other names" and "stays: it has other names" in page
    assert told["more/small2.jpg"]["same_as"] == "more/small.jpg" and "the same bytes as more/small.jpg" in page
    assert "more/odd\r\nname.png" in told


def test_the_verb_prints_json(photos: Path, capsys) -> None:
    assert run(photos, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["could_go"], found["in_groups"], len(found["groups"])) == (3, 5, 2)
    assert found["groups"][0]["keep"]["path"] == "03.png"
    assert found["could_go_bytes"] == sum(
        (photos / name).stat().st_size for name in ("more/same.png", "more/small.jpg", "05.png")
    )
    assert found["skipped"][0]["path"] == "broken.jpg"


def test_a_page_of_many_says_what_it_leaves_out(photos: Path, tmp_path: Path, monkeypatch) -> None:
    from retrieval.traps.duplicates import page

    found = find_duplicates(photos)
    monkeypatch.setattr(page, "GROUPS", 1)
    monkeypatch.setattr(page, "MEMBERS", 1)
    (photos / "03.png").unlink()  # gone meanwhile
    write_page(found, tmp_path / "some.html")
    text = (tmp_path / "some.html").read_text()
    assert text.count("<img ") == 1 and "cannot be read any more" in text
    assert "The 1 largest of 2 groups" in text and "1 more are in the list" in text


def test_mistakes_are_told_in_a_sentence(photos: Path, tmp_path: Path) -> None:
    index = index_of(photos, tmp_path / "index", unit(2, 8), ["00.png", "01.png"])
    lost = index_of(tmp_path / "moved", tmp_path / "lost", unit(2, 8), ["00.png", "01.png"])
    (tmp_path / "empty").mkdir()
    picture = photos / "00.png"
    content = picture.read_bytes()
    for argv, sentence in (
        (["nowhere"], "There is no folder"),
        (["x" * 300], "There is no folder"),
        ([photos, "--against", "x" * 300], "There is no folder"),
        ([photos, "--keep", "x" * 300], "give one of them to --keep"),
        ([photos, "--move-to", tmp_path / ("x" * 300)], "cannot be made"),
        (["--undo", "x" * 300], "cannot be read"),
        ([tmp_path / "empty"], "No picture in"),
        ([lost], "put them back"),
        ([index, "--model", "default"], "leave --model out"),
        ([photos, "--bits", "33"], "0 to 32"),
        ([photos, "--bits", "-1"], "0 to 32"),
        ([photos, "--score", "1.5"], "from -1 to 1"),
        ([photos, "--score", "nan"], "from -1 to 1"),
        ([photos, "--page", picture], "ends in .html"),
        ([photos, "--list", picture], "ends in .csv"),
        ([photos, "--list", tmp_path / "no" / "list.csv"], "folder that is not there"),
    ):
        with pytest.raises(RetrievalError, match=sentence):
            run(*argv)
    assert picture.read_bytes() == content
