"""An index of an object store is the index of a folder of the same bytes, item for item."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import odd_tree
import pytest
import tiny
from PIL import Image
from s3_server import S3Server

from retrieval import images
from retrieval.base.placed_files import open_file
from retrieval.cli import main
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.ingest import BuildReport, add_pictures, build, sync
from retrieval.ingest.add_index import add_index
from retrieval.places.bucket import Bucket
from retrieval.places.roots import root_at
from retrieval.search.search import Search

COUNTED = ("added", "replaced", "renamed", "touched", "kept", "removed", "relabelled", "copied")


def counts(report: BuildReport) -> dict[str, int]:
    return {name: getattr(report, name) for name in COUNTED if getattr(report, name)}


def items(folder: Path) -> dict[int, tuple[Any, ...]]:
    """All that an index says of its pictures but their time, which is that of their upload."""
    with Index.open(folder) as index:
        ids, vectors = index.all_vectors()
        return {
            item.id: (
                item.path, item.label, item.width, item.height, item.size, item.sha256,
                index.facts(item.id), tuple(sorted(own.items())), vector.tobytes(),
            )
            for item, own, vector in zip(index.items(ids), index.attributes(ids), vectors, strict=True)
        }  # fmt: skip


def test_whatever_disks_hold_gives_the_same_index(
    server: S3Server, bucket: str, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of everything: formats, damage, EXIF, odd names, what is hidden, what systems keep; and again with all of
    it."""
    grown = odd_tree.grow(tmp_path / "odd")
    left_out = server.upload(bucket, grown, "some/where")
    local = tmp_path / "pictures"
    # What cannot be an object (links to folders, pipes, holes, names that are no text) is in neither.
    for path, _, names in os.walk(grown):
        for name in names:
            file = Path(path, name)
            inside = file.relative_to(grown).as_posix()
            if f"some/where/{inside}" not in left_out:
                (local / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, local / inside)
    for options in ({}, {"hidden": True}):
        ours = build(f"s3://{bucket}/some/where/", tmp_path / "of_objects", model=model, gps=True, **options)
        theirs = build(local, tmp_path / "of_files", model=model, gps=True, **options)
        assert ours.skipped == theirs.skipped
        assert ours.passed == theirs.passed
        assert counts(ours) == counts(theirs)
        assert items(tmp_path / "of_objects") == items(tmp_path / "of_files")
        assert (tmp_path / "of_objects/skipped.csv").read_text() == (tmp_path / "of_files/skipped.csv").read_text()
        said = [line.partition(": ")[2] for line in capsys.readouterr().err.splitlines() if "Passed over" in line]
        assert len(said) == 2 and said[0] == said[1] and "PDF" in said[0]
    assert ours.total > 50 and len(ours.skipped) > 5 and ours.labels == "folders"
    again = build(f"s3://{bucket}/some/where", tmp_path / "of_objects")
    assert (again.changed, again.touched, again.skipped) == (False, 0, ours.skipped)
    with Index.open(tmp_path / "of_objects") as index:
        assert index.root == f"s3://{bucket}/some/where"
        assert index.pictures.path_of(f"s3://{bucket}/some/where/a/b.png") == "a/b.png"


def test_what_changes_is_looked_into_and_nothing_else(
    server: S3Server, bucket: str, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.folder(tmp_path / "pictures", each=5)
    server.upload(bucket, folder)
    address, out = f"s3://{bucket}", tmp_path / "index"
    assert counts(build(address, out, model=model)) == {"added": 10}
    before = items(out)
    read: list[str] = []
    whole = Bucket.read
    monkeypatch.setattr(Bucket, "read", lambda self, path, *most: (read.append(path), whole(self, path, *most))[1])
    assert (counts(sync(out)), read) == ({"kept": 10}, [])

    one = (folder / "cat/1.png").read_bytes()
    server.delete(bucket, "cat/0.png")
    server.put(bucket, "cat/1.png", one)  # the same again, at another time or of another version
    server.put(bucket, "cat/2.png", (folder / "cat/3.png").read_bytes() + b"behind the end")  # another
    server.put(bucket, "dog/new.png", (folder / "dog/0.png").read_bytes())  # moved there
    server.delete(bucket, "dog/0.png")
    server.put(bucket, "eel/0.png", (folder / "dog/1.png").read_bytes())  # a copy
    report = sync(out)
    changed = {"cat/1.png", "cat/2.png", "dog/new.png", "eel/0.png"}
    assert set(read) <= changed and {"cat/2.png", "dog/new.png"} <= set(read)
    found = counts(report)
    found.pop("touched", None)  # in the second of the first upload, the same bytes are the same version
    found.pop("kept")
    assert found == {"added": 1, "replaced": 1, "renamed": 1, "removed": 1, "copied": 1}
    after = {row[0]: (id_, *row[1:]) for id_, row in items(out).items()}
    assert sorted(after) == [
        "cat/1.png", "cat/2.png", "cat/3.png", "cat/4.png",
        "dog/1.png", "dog/2.png", "dog/3.png", "dog/4.png", "dog/new.png", "eel/0.png",
    ]  # fmt: skip
    was = {row[0]: id_ for id_, row in before.items()}
    assert after["dog/new.png"][0] == was["dog/0.png"]
    read.clear()
    assert (sync(out).changed, read) == (False, [])
    assert sync(out, checksum=True).kept == 10 and len(read) == 10


def test_the_same_size_in_the_same_second_shows(server: S3Server, bucket: str, tmp_path: Path, model: Path) -> None:
    """By its tag: a time has whole seconds."""
    for number in range(2):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(tmp_path / f"{number}.bmp")
    contents = [(tmp_path / f"{number}.bmp").read_bytes() for number in range(2)]
    assert len(contents[0]) == len(contents[1]) and contents[0] != contents[1]
    server.put(bucket, "a.bmp", contents[0])
    server.put(bucket, "b.bmp", (tmp_path / "0.bmp").read_bytes() + b"x")
    build(f"s3://{bucket}", tmp_path / "index", model=model)
    server.put(bucket, "a.bmp", contents[1])
    assert counts(sync(tmp_path / "index")) == {"replaced": 1, "kept": 1}


def test_the_folder_moves_into_a_store_and_out_of_it(
    server: S3Server, bucket: str, tmp_path: Path, model: Path
) -> None:
    folder = tiny.folder(tmp_path / "pictures")
    build(folder, tmp_path / "index", model=model)
    before = items(tmp_path / "index")
    server.upload(bucket, folder, "x")
    assert counts(sync(tmp_path / "index", f"s3://{bucket}/x")) == {"touched": 8}
    assert counts(sync(tmp_path / "index")) == {"kept": 8}
    with pytest.raises(RetrievalError, match="only a part of the folder"):
        sync(tmp_path / "index", f"s3://{bucket}/x/cat")
    assert counts(sync(tmp_path / "index", f"file://{folder}")) == {"touched": 8}
    assert items(tmp_path / "index") == before
    with Index.open(tmp_path / "index") as index:
        assert index.root == str(folder)


def test_pictures_are_added_wherever_they_lie(server: S3Server, bucket: str, tmp_path: Path, model: Path) -> None:
    folder = tiny.folder(tmp_path / "pictures")
    server.upload(bucket, folder, "x")
    build(f"s3://{bucket}/x", tmp_path / "index", model=model)
    for key in ("x/cat/late.png", "y/one.png", "y/two/two.png"):
        tiny.picture(hash(key) % 1000).save(tmp_path / "late.png")
        server.put(bucket, key, (tmp_path / "late.png").read_bytes())
    tiny.picture(77).save(tmp_path / "here.png")
    given = [f"s3://{bucket}/x/cat/late.png", f"s3://{bucket}/y", tmp_path / "here.png"]
    assert counts(add_pictures(tmp_path / "index", given)) == {"added": 4}
    assert counts(add_pictures(tmp_path / "index", given)) == {"kept": 4}
    assert counts(sync(tmp_path / "index")) == {"kept": 12}
    with Index.open(tmp_path / "index") as index:
        labels = {item.path: item.label for item in index.items(index.ids())}
        assert labels.items() >= {
            "cat/late.png": "cat", f"s3://{bucket}/y/one.png": None, f"s3://{bucket}/y/two/two.png": None,
            str(tmp_path / "here.png"): None,
        }.items()  # fmt: skip
        for path in labels:  # all are opened where they lie
            assert images.open_picture(index.pictures / path).size == (32, 32)
    # Into an index of a folder, too, and with all that another index has.
    build(folder, tmp_path / "other", model=model)
    assert counts(add_pictures(tmp_path / "other", [f"s3://{bucket}/y/one.png"])) == {"added": 1}
    added = add_index(tmp_path / "other", tmp_path / "index")
    assert (added.added, added.kept, added.unplaced) == (11, 1, ())
    with Index.open(tmp_path / "other") as index:
        assert index.find(f"s3://{bucket}/x/cat/0.png") is not None
        assert images.open_picture(index.pictures / f"s3://{bucket}/x/cat/0.png").size == (32, 32)
    with pytest.raises(RetrievalError, match=r"missing\.png.*no such file"):
        add_pictures(tmp_path / "index", [f"s3://{bucket}/x/missing.png"])


def test_pictures_are_asked_with_shown_and_named(
    server: S3Server, bucket: str, tmp_path: Path, model: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    folder = tiny.folder(tmp_path / "pictures")
    server.upload(bucket, folder, "x")
    build(f"s3://{bucket}/x", tmp_path / "index", model=model)
    with Search.open(tmp_path / "index") as search:
        (own,) = search.query(f"s3://{bucket}/x/cat/0.png", 3)
        (copy,) = search.query(folder / "cat/0.png", 3)
        assert own.id is not None and own.label == "cat"
        assert [hit.path for hit in own] == [hit.path for hit in copy]
        assert len(search.query(f"s3://{bucket}/x/cat", 1)) == 4
        assert search.query_parts([f"s3://{bucket}/x/cat/0.png#0,0,16,16@0.5", "id:3"], k=2).hits
        with open_file(search.root / own.hits[0].path) as file:  # type: ignore[arg-type]
            assert file.readall() == (folder / own.hits[0].path).read_bytes()
    index = str(tmp_path / "index")
    assert main(["query", index, "--id", "1", "-k", "2", "--save", str(tmp_path / "hits.png"), "--explain", "-0"]) == 0
    paths = capsysbinary.readouterr().out.split(b"\0")[:-1]
    assert len(paths) == 2 and all(path.startswith(f"s3://{bucket}/x/".encode()) for path in paths)
    drawn = np.asarray(Image.open(tmp_path / "hits.png").convert("RGB"))
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 50  # the pictures, not tiles that say what is missing
    assert main(["query", index, "--path", "cat/1.png", "--json"]) == 0
    assert json.loads(capsysbinary.readouterr().out)["root"] == f"s3://{bucket}/x"
    assert main(["report", index, "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").read_text().count("data:image/jpeg") > 5


def test_labels_come_from_a_list_too(server: S3Server, bucket: str, tmp_path: Path, model: Path) -> None:
    server.upload(bucket, tiny.folder(tmp_path / "pictures", each=2), "x")
    (tmp_path / "labels.csv").write_text(f"path,label\ncat/0.png,a\ns3://{bucket}/x/dog/1.png,b\n")
    report = build(f"s3://{bucket}/x", tmp_path / "index", model=model, labels=tmp_path / "labels.csv")
    assert report.labels == "csv"
    with Index.open(tmp_path / "index") as index:
        assert {item.path: item.label for item in index.items(index.ids()) if item.label} == {
            "cat/0.png": "a",
            "dog/1.png": "b",
        }


def test_a_root_is_made_again_elsewhere(server: S3Server, bucket: str, tmp_path: Path) -> None:
    """From its address alone, as a worker on another machine does; what was listed stays behind."""
    folder = tiny.folder(tmp_path / "pictures")
    server.upload(bucket, folder)
    root = root_at(f"s3://{bucket}")
    paths = images.find(root).paths
    sent = pickle.dumps(root)
    assert len(sent) < 400 and b"secret" not in sent
    code = (
        "import pickle, sys; root = pickle.loads(bytes.fromhex(sys.argv[1]));"
        "print((root / sys.argv[2]).open().readall().hex(), root.stamp(sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, sent.hex(), paths[0]], capture_output=True, text=True, check=True
    )
    assert done.stdout.split(maxsplit=1) == [(folder / paths[0]).read_bytes().hex(), f"{root.stamp(paths[0])}\n"]


def test_a_folder_needs_none_of_it(tmp_path: Path, model: Path) -> None:
    """The path on one machine imports no library of a store."""
    tiny.folder(tmp_path / "pictures")
    code = (
        "import sys; from retrieval.cli import main; main(sys.argv[1:]);"
        "main(['query', 'index', '--id', '1', '--save', 'hits.png']);"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'fsspec', 's3fs', 'aiohttp', 'botocore'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "build", "pictures", "--out", "index", "--model", str(model)],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] in ("[]", "['fsspec']")  # torch may bring that one
