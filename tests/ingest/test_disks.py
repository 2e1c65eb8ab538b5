"""What people's disks hold: what a walk passes over, what a build leaves out, and what it need not look at again."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import odd_files
import pytest
import tiny
from built import contents
from PIL import Image
from small_sets import gradient

from retrieval import images
from retrieval.cli import main
from retrieval.errors import RetrievalError
from retrieval.images import folders, reading
from retrieval.index import Index
from retrieval.ingest import add_pictures, build, sync

SYSTEM = (
    *("#recycle", "$RECYCLE.BIN", "RECYCLER", "@eaDir", ".Trash-1000", ".Trashes", "lost+found", "@Recycle"),
    *("System Volume Information", "__MACOSX", ".thumbnails", "#snapshot", "Catalog Previews.lrdata", "found.000"),
)


# pytest puts its own filters over those with which Pillow's warnings are kept from users.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory)


# --- Walking


def test_folders_of_systems_are_passed_over_and_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.folder(tmp_path / "p", each=1)
    for number, name in enumerate(SYSTEM):
        inside = tmp_path / "p" / ("cat" if number % 2 else ".") / name / "deep"
        inside.mkdir(parents=True)
        tiny.picture(1).save(inside / "a.png")
    found = images.find(tmp_path / "p")
    assert found.paths == ("cat/0.png", "dog/0.png")
    assert found.passed == {"system folder": len(SYSTEM)}
    said = capsys.readouterr().err
    assert (
        said.startswith(f"Passed over in '{tmp_path / 'p'}': {len(SYSTEM)} system folders ('") and said.count("\n") == 1
    )
    assert len(images.find(tmp_path / "p", hidden=True).paths) == 2 + len(SYSTEM)
    assert images.find(tmp_path / "p" / "#recycle").paths == ("deep/a.png",)  # whoever names one means it
    for name in ("recycled paper", "trash", "snapshots", "thumbnails", "DCIM", "lost"):
        assert images.is_system(name) == (name == "trash")


def test_what_is_no_picture_is_counted_by_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.MOV", "b.mp4", "c.svg", "d.txt", ".e.jpg", ".f", "._g.jpg", "h.pdf"):
        (tmp_path / name).write_bytes(b"x")
    tiny.picture(0).save(tmp_path / "z.png")
    found = images.find(tmp_path)
    assert found.paths == ("z.png",)
    assert found.passed == {"video": 2, "hidden": 2, "SVG": 1, "other": 1, "hidden picture": 1, "PDF": 1}
    said = capsys.readouterr().err
    for part in ("2 videos ('", "1 SVG ('c.svg')", "1 hidden picture ('.e.jpg')", "1 PDF ('h.pdf')"):
        assert part in said
    assert "other" not in said and "2 hidden" not in said


def test_files_without_a_telling_name_are_known_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photo").write_bytes(odd_files.saved(gradient(), "JPEG"))
    (tmp_path / "IMG_1.jpg_original").write_bytes(odd_files.saved(gradient(), "PNG"))
    (tmp_path / "live").write_bytes(odd_files.HEIC)
    (tmp_path / "film").write_bytes(odd_files.film())
    (tmp_path / "README").write_text("P5 is what this begins with, and BM too\n")
    (tmp_path / "empty").touch()
    (tmp_path / "gone").symlink_to("nowhere")
    found = images.find(tmp_path)
    assert found.paths == ("IMG_1.jpg_original", "live", "photo")
    assert found.passed == {"other": 3, "video": 1}
    assert set(found.strangers) == {"README", "empty"}
    opened: list[str] = []
    monkeypatch.setattr(folders, "is_picture", lambda head: opened.append(head) or False)
    assert images.find(tmp_path, strangers=found.strangers).strangers == found.strangers
    assert [head for head in opened if head.startswith(b"P5")] == []


def test_archives_hide_what_macos_puts_into_them(tmp_path: Path) -> None:
    import zipfile

    from retrieval import datasets

    tiny.folder(tmp_path / "p", each=2)
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for path in sorted((tmp_path / "p").rglob("*.png")):
            archive.write(path, path.relative_to(tmp_path / "p"))
            archive.write(path, Path("__MACOSX") / path.relative_to(tmp_path / "p"))
    assert datasets.load(tmp_path / "p.zip").classes == ("cat", "dog")


# --- Building


def odd_tree(root: Path) -> Path:
    """Pictures of many kinds, and what lies between them on a disk."""
    tiny.folder(root, each=2)
    (root / "cat/phone.HEIC").write_bytes(odd_files.HEIC)
    (root / "cat/no end.jpg").write_bytes(odd_files.saved(gradient(90, 70), "JPEG")[:-2])
    values = np.linspace(0, 4095, 2400).astype(np.uint16).reshape(40, 60)
    (root / "dog/scan.tif").write_bytes(odd_files.tiff([odd_files.tiff_of(values, bits=12)]))
    (root / "dog/screen.avif").write_bytes(odd_files.saved(gradient(70, 60), "AVIF"))
    (root / "dog/unnamed").write_bytes(odd_files.saved(gradient(50, 60), "PNG"))
    (root / "cat/cut.jpg").write_bytes(odd_files.saved(gradient(90, 70), "JPEG")[:-300])
    (root / "cat/zeros.jpg").write_bytes(b"\xff\xd8\xff\xe1" + bytes(10_000))
    (root / "cat/notes").write_text("no picture")
    (root / "cat/film.mp4").write_bytes(odd_files.film())
    (root / "@eaDir").mkdir()
    tiny.picture(7).save(root / "@eaDir/thumb.jpg")
    return root


def test_an_odd_tree_is_indexed(tmp_path: Path, model: Path) -> None:
    root = odd_tree(tmp_path / "p")
    report = build(root, tmp_path / "i", model=model)
    assert (report.total, report.classes) == (9, 2)
    assert report.skipped == (("cat/cut.jpg", "truncated"), ("cat/zeros.jpg", "damaged"))
    assert report.passed == {"system folder": 1, "video": 1, "other": 1}
    assert json.loads(json.dumps(report.to_json()))["passed"] == report.passed
    with Index.open(tmp_path / "i") as index:
        item = index.find("cat/phone.HEIC")
        assert item is not None and (item.width, item.height) == (40, 64)
    again = sync(tmp_path / "i")
    assert (again.changed, again.kept, again.skipped) == (False, 9, report.skipped)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that are read from here on."""
    read: list[str] = []
    original = reading._opened

    def noted(path: Path) -> object:
        read.append(path.name)
        return original(path)

    monkeypatch.setattr(reading, "_opened", noted)
    return read


@pytest.mark.parametrize("again", ["sync", "build"])
def test_what_was_left_out_is_read_once(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    root = odd_tree(tmp_path / "p")
    build(root, tmp_path / "i", model=model)
    run: Callable[..., object] = {
        "sync": lambda **o: sync(tmp_path / "i", **o),
        "build": lambda **o: build(root, tmp_path / "i", **o),
    }[again]
    read = counted(monkeypatch)
    sniffed: list[bytes] = []
    original = folders.is_picture
    monkeypatch.setattr(folders, "is_picture", lambda head: sniffed.append(head) or original(head))
    run()
    assert read == [] and set(sniffed) <= {b""}  # nor is a picture opened only because its name does not tell
    (root / "cat/cut.jpg").write_bytes(odd_files.saved(gradient(90, 70), "JPEG"))
    report = run()
    assert read == ["cut.jpg"] and report.added == 1
    assert [skipped.path for skipped in report.skipped] == ["cat/zeros.jpg"]
    run(checksum=True)
    assert "zeros.jpg" in read


def test_the_fault_of_the_day_is_tried_again(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = odd_tree(tmp_path / "p")
    with monkeypatch.context() as patch:
        patch.setitem(__import__("sys").modules, "retrieval.images.heic", None)
        report = build(root, tmp_path / "i", model=model)
    assert "pip install pi-heif" in {skipped.path: skipped.reason for skipped in report.skipped}["cat/phone.HEIC"]
    assert sync(tmp_path / "i").added == 1
    with sqlite3.connect(tmp_path / "i/catalog.sqlite") as catalog:  # another release of a library reads more
        catalog.execute("UPDATE left_out SET decoder = 'pillow 1.0, pixels 1'")
    catalog.close()
    read = counted(monkeypatch)
    sync(tmp_path / "i")
    assert set(read) == {"cut.jpg", "zeros.jpg"}


def test_an_index_without_that_list_gets_one(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = odd_tree(tmp_path / "p")
    build(root, tmp_path / "i", model=model)
    with sqlite3.connect(tmp_path / "i/catalog.sqlite") as catalog:
        catalog.execute("DROP TABLE left_out")
    catalog.close()
    read = counted(monkeypatch)
    sync(tmp_path / "i")
    assert set(read) == {"cut.jpg", "zeros.jpg"}
    read.clear()
    sync(tmp_path / "i")
    assert read == []


def test_hidden_folders_can_be_taken_in(tmp_path: Path, model: Path) -> None:
    root = odd_tree(tmp_path / "p")
    assert main(["build", str(root), "--out", str(tmp_path / "i"), "--model", str(model), "--labels", "none"]) == 0
    assert "@eaDir/thumb.jpg" not in contents(tmp_path / "i")
    assert main(["build", str(root), "--out", str(tmp_path / "i"), "--hidden"]) == 0
    assert "@eaDir/thumb.jpg" in contents(tmp_path / "i")
    tiny.picture(8).save(root / "@eaDir/more.jpg")
    assert sync(tmp_path / "i").added == 1  # the index remembers it


@pytest.mark.parametrize("year", [2300, 1600])
def test_a_file_of_another_age_stops_nothing(tmp_path: Path, model: Path, year: int) -> None:
    root = tiny.folder(tmp_path / "p", each=2)
    seconds = (year - 1970) * 31_556_952
    try:
        os.utime(root / "cat/0.png", (seconds, seconds))
    except (OSError, OverflowError):
        pytest.skip("this file system has no such times")
    if (root / "cat/0.png").stat().st_mtime_ns != seconds * 10**9:
        pytest.skip("this file system has no such times")
    assert build(root, tmp_path / "i", model=model).total == 4
    assert not sync(tmp_path / "i").changed
    os.utime(root / "dog/1.png", (seconds, seconds))
    assert sync(tmp_path / "i").touched == 1
    tiny.picture(9).save(tmp_path / "more.png")
    os.utime(tmp_path / "more.png", (seconds, seconds))
    assert add_pictures(tmp_path / "i", [tmp_path / "more.png"]).added == 1


# --- An index of older pixels


def test_an_index_of_older_pixels_answers_and_is_not_mixed(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tiny.folder(tmp_path / "p", each=3)
    build(root, tmp_path / "i", model=model)
    with Index.open(tmp_path / "i") as index:
        assert index.decoder.endswith(", pixels 2")
    before = contents(tmp_path / "i")
    with sqlite3.connect(tmp_path / "i/catalog.sqlite") as catalog:
        catalog.execute("UPDATE meta SET value = '\"pillow 12.0.0\"' WHERE key = 'decoder'")
    catalog.close()
    assert main(["query", str(tmp_path / "i"), str(root / "cat/0.png")]) == 0
    capsys.readouterr()
    assert not sync(tmp_path / "i").changed
    said = capsys.readouterr().err
    assert said.count("older decoder (pillow 12.0.0)") == 1 and "--overwrite" in said
    (root / "cat/1.png").rename(root / "cat/renamed.png")
    (root / "dog/2.png").unlink()
    tiny.picture(50).save(root / "cat/new.png")
    tiny.picture(51).save(root / "dog/1.png")
    report = sync(tmp_path / "i")
    assert (report.added, report.replaced, report.renamed, report.removed) == (0, 0, 1, 1)
    assert {skipped.path for skipped in report.skipped} == {"cat/new.png", "dog/1.png"}
    assert {skipped.reason for skipped in report.skipped} == {"the index was built with an older decoder"}
    after = contents(tmp_path / "i")
    assert set(after) == {"cat/0.png", "cat/2.png", "cat/renamed.png", "dog/0.png", "dog/1.png"}
    assert after["dog/1.png"] == before["dog/1.png"]
    tiny.picture(60).save(tmp_path / "x.png")
    with pytest.raises(RetrievalError, match=r"older decoder"):
        add_pictures(tmp_path / "i", [tmp_path / "x.png"])
    assert build(root, tmp_path / "i", overwrite=True).total == 6
    with Index.open(tmp_path / "i") as index:
        assert index.decoder.endswith(", pixels 2")
    assert add_pictures(tmp_path / "i", [tmp_path / "x.png"]).added == 1


def test_pictures_may_be_large(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tiny.folder(tmp_path / "p", each=2)
    Image.new("RGBA", (900, 700), (1, 2, 3, 4)).save(root / "cat/large.png")
    monkeypatch.setattr(reading.SHARED, "size", 2_000_000)
    monkeypatch.setattr(reading.SHARED, "_free", 2_000_000)
    report = build(root, tmp_path / "i", model=model)
    assert report.skipped == (("cat/large.png", "needs 17.6 MB of memory"),)
    monkeypatch.undo()
    assert sync(tmp_path / "i").added == 1


# --- What cameras write


def photograph(seed: int, model: str, taken: str = "2024:05:01 23:30:00", iso: object = 400, **place: object) -> bytes:
    """A JPEG with what a camera writes."""
    exif = Image.Exif()
    exif[0x0110] = f"{model}\0"
    exif.get_ifd(0x8769).update({0x9003: taken, 0xA434: "XF 23", 0x8827: iso, 0x829A: 0.004, 0x829D: 5.6, 0x920A: 23.0})
    if place:
        exif.get_ifd(0x8825).update({1: "N", 2: (47.0, 30.0, 0.0), 3: "W", 4: (8.0, 15.0, 36.0)})
    return odd_files.saved(tiny.picture(seed, 64, 48), "JPEG", exif=exif)


def attributes(out: Path) -> dict[str, dict[str, object]]:
    with Index.open(out) as index:
        ids = index.ids()
        told = index.attributes([int(id_) for id_ in ids])
        return {item.path: dict(one) for item, one in zip(index.items(ids), told, strict=True)}


def test_what_the_camera_wrote_can_be_asked_for(tmp_path: Path, model: Path) -> None:
    root = tmp_path / "p"
    root.mkdir()
    (root / "a.jpg").write_bytes(photograph(1, "X100", place=True))
    (root / "b.jpg").write_bytes(photograph(2, "X100", taken="2024:04:30 10:00:00"))
    (root / "copy of a.jpg").write_bytes(photograph(1, "X100", place=True))
    tiny.picture(3).save(root / "c.png")
    build(root, tmp_path / "i", model=model)
    told = attributes(tmp_path / "i")
    assert told["a.jpg"] == told["copy of a.jpg"] == {
        "taken": "2024-05-01T23:30:00", "camera": "X100", "lens": "XF 23", "iso": 400, "exposure": 0.004,
        "aperture": 5.6, "focal": 23.0,
    }  # fmt: skip
    assert told["c.png"] == {}
    with Index.open(tmp_path / "i") as index:
        chosen = index.select('taken >= 2024-05-01 and camera = "X100"')
        assert {item.path for item in index.items(chosen)} == {"a.jpg", "copy of a.jpg"}
    (root / "another copy.jpg").write_bytes(photograph(1, "X100", place=True))
    sync(tmp_path / "i")  # its bytes are known, and not decoded
    assert attributes(tmp_path / "i")["another copy.jpg"] == told["a.jpg"]


def test_places_are_kept_only_if_somebody_asks(tmp_path: Path, model: Path) -> None:
    root = tmp_path / "p"
    root.mkdir()
    (root / "a.jpg").write_bytes(photograph(1, "X100", place=True))
    assert main(["build", str(root), "--out", str(tmp_path / "i"), "--model", str(model), "--gps"]) == 0
    (root / "b.jpg").write_bytes(photograph(2, "X100", place=True))
    sync(tmp_path / "i")
    for told in attributes(tmp_path / "i").values():
        assert (told["latitude"], told["longitude"]) == (47.5, -8.26)


def test_what_somebody_attached_counts_more(tmp_path: Path, model: Path) -> None:
    root = tmp_path / "p"
    root.mkdir()
    (root / "a.jpg").write_bytes(photograph(1, "X100"))
    build(root, tmp_path / "i", model=model)
    with Index.open(tmp_path / "i", write=True) as index:
        index.attach({0: {"camera": "my own", "rating": 5}})
    assert not sync(tmp_path / "i").changed
    (root / "a.jpg").write_bytes(photograph(2, "Z9", taken="2025:01:02 03:04:05"))
    for _ in range(2):  # what was attached stays however often the file changes
        assert sync(tmp_path / "i").replaced == 1
        told = attributes(tmp_path / "i")["a.jpg"]
        assert (told["camera"], told["rating"], told["taken"]) == ("my own", 5, "2025-01-02T03:04:05")
        (root / "a.jpg").write_bytes(photograph(3, "Z9", taken="2025:01:02 03:04:05"))
    tiny.picture(9, 64, 48).save(root / "a.jpg")
    assert sync(tmp_path / "i").replaced == 1
    assert attributes(tmp_path / "i")["a.jpg"] == {"camera": "my own", "rating": 5}
    with Index.open(tmp_path / "i", write=True) as index:
        index.compact()
    assert attributes(tmp_path / "i")["a.jpg"] == {"camera": "my own", "rating": 5}


def test_metadata_that_make_no_sense_are_left_out(tmp_path: Path, model: Path) -> None:
    root = tmp_path / "p"
    root.mkdir()
    (root / "a.jpg").write_bytes(photograph(1, "\x1b[31m  X\n100 ", taken="0000:00:00 00:00:00", iso=0))
    (root / "b.jpg").write_bytes(photograph(2, "y" * 5000, taken="last summer", iso=(100, 200)))
    damaged = bytearray(photograph(3, "X100"))
    at = damaged.index(b"Exif") + 14
    damaged[at : at + 60] = b"\xff" * 60
    (root / "c.jpg").write_bytes(damaged)
    assert build(root, tmp_path / "i", model=model).total == 3
    told = attributes(tmp_path / "i")
    assert "taken" not in told["a.jpg"] and "iso" not in told["a.jpg"] and told["a.jpg"]["camera"] == "[31m  X100"
    assert "taken" not in told["b.jpg"] and told["b.jpg"]["iso"] == 100 and len(str(told["b.jpg"]["camera"])) == 100
