"""Damaged, foreign and hostile files: the right answer or one sentence, and never a crash."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest
import tiny
from index_model import clustered, create, named

from retrieval.base.files import checksum
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.index.integrity import verify
from retrieval.index.nearest import kinds
from retrieval.index.records import to_runs
from retrieval.tuning.default import default_structure

SUPPORT = Path(__file__).resolve().parents[1] / "support"
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(
        [str(SUPPORT.parents[1]), str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])]
    ),
    "OMP_NUM_THREADS": "1",
}
DIM = 16
VECTORS = clustered(200, DIM)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "index"
    with create(folder, DIM) as index:
        index.add(VECTORS[:120], named(120))
        index.add(VECTORS[120:], named(80, 120))
        index.attach({id_: {"price": id_ / 2, "shop": "a"} for id_ in range(50)})
        index.set_structure(kinds.build("HNSW8,Flat", index.all_vectors()[1]), {"efSearch": 16})
        index.remove([3, 150])
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "index")
    return tmp_path / "index"


def test_random_damage(whole: Path, tmp_path: Path, long: bool) -> None:
    """To the catalog, the segments and the structure, each in a process of its own."""
    count = 5000 if long else 30
    done = subprocess.run(
        [sys.executable, SUPPORT / "fuzzed_reader.py", "random", whole, tmp_path, "0", str(count)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["problems"] == []
    assert found["refused"] > count / 5 and found["right"] > count / 5  # it did damage, and not too much


# What no checksum finds: whoever changes a file can change the catalog, too


def sql(folder: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / "catalog.sqlite")) as connection:
        assert connection.execute(statement, values).rowcount != 0
        connection.commit()


def forge(folder: Path, table: str, path: Path) -> None:
    """Give a file of the index the checksum that the catalog has."""
    sql(
        folder,
        f"UPDATE {table} SET size = ?, checksum = ? WHERE file = ?",  # noqa: S608
        path.stat().st_size,
        checksum(path),
        path.relative_to(folder).as_posix(),
    )


def second_segment(fill: Callable[[h5py.File, Path], None]) -> Callable[[Path], None]:
    """The second segment is another file, with the right checksum; `fill` also gets a file it should not read."""

    def change(folder: Path) -> None:
        secret = folder.parent / "secret.h5"
        with h5py.File(secret, "w") as file:
            file["vectors"], file["ids"] = VECTORS[120:], np.arange(120, 200)
        path = folder / "segments" / "00000002.h5"
        with h5py.File(path, "w") as file:
            fill(file, secret)
            if "vectors" not in file:
                file["vectors"] = VECTORS[120:]
            if "ids" not in file:
                file["ids"] = np.arange(120, 200)
        forge(folder, "segments", path)

    return change


def elsewhere(file: h5py.File, secret: Path) -> None:
    file["vectors"] = h5py.ExternalLink(str(secret), "vectors")


def external(file: h5py.File, secret: Path) -> None:
    file.create_dataset("vectors", (80, DIM), "<f4", external=[(str(secret), 0, 80 * DIM * 4)])


def external_ids(file: h5py.File, secret: Path) -> None:
    file.create_dataset("ids", (80,), "<i8", external=[(str(secret), 0, 640)])


def virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout((80, DIM), "<f4")
    layout[:] = h5py.VirtualSource(str(secret), "vectors", (80, DIM))
    file.create_virtual_dataset("vectors", layout)


def virtual_ids(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout((80,), "<i8")
    layout[:] = h5py.VirtualSource(str(secret), "ids", (80,))
    file.create_virtual_dataset("ids", layout)


def huge(file: h5py.File, _: Path) -> None:
    file.create_dataset("vectors", (1 << 40, DIM), "<f4", chunks=(1 << 10, DIM))


def huge_ids(file: h5py.File, _: Path) -> None:
    file.create_dataset("ids", (1 << 40,), "<i8", chunks=(1 << 10,))


def group(file: h5py.File, _: Path) -> None:
    file.create_group("vectors")


def group_ids(file: h5py.File, _: Path) -> None:
    file.create_group("ids")


def compound(file: h5py.File, _: Path) -> None:
    file["vectors"] = np.zeros((80, DIM), [("a", "<f4"), ("b", "<f4")])


def texts(file: h5py.File, _: Path) -> None:
    file.create_dataset("vectors", (80, DIM), h5py.string_dtype())


def far_ids(file: h5py.File, _: Path) -> None:
    file["ids"] = np.arange(80) + 2**40


def broken_ids(file: h5py.File, _: Path) -> None:
    file["ids"] = np.linspace(120, 199, 80)


def statement(text: str, *values: object) -> Callable[[Path], None]:
    return lambda folder: sql(folder, text, *values)


def replace(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Something else stands under the second segment's name."""

    def change(folder: Path) -> None:
        path = folder / "segments" / "00000002.h5"
        path.unlink()
        make(path)

    return change


def another_index(folder: Path) -> None:
    with create(folder.parent / "another", DIM) as index:
        index.add(clustered(80, DIM, seed=7), named(80))
    shutil.copy(folder.parent / "another" / "segments" / "00000001.h5", folder / "segments" / "00000002.h5")


def changed_places(folder: Path) -> None:
    one, two = (folder / "segments" / f"0000000{n}.h5" for n in (1, 2))
    one.rename(folder / "other")
    two.rename(one)
    (folder / "other").rename(two)


SECOND = r"00000002\.h5"
MISLEADING: dict[str, tuple[Callable[[Path], None], str]] = {
    # Segments. No file of an index may make it read another file, or more than there is.
    **{
        make.__name__: (second_segment(make), SECOND)
        for make in (elsewhere, external, external_ids, virtual, virtual_ids, huge, huge_ids, group, group_ids,
                     compound, texts, broken_ids)
    },
    "far_ids": (second_segment(far_ids), "items"),
    "another index's": (another_index, SECOND),
    "changed places": (changed_places, "0000000"),
    "broken link": (replace(lambda path: path.symlink_to("nowhere")), SECOND),
    "link to itself": (replace(lambda path: path.symlink_to(path.name)), SECOND),
    "folder": (replace(lambda path: path.mkdir()), SECOND),
    "pipe": (replace(os.mkfifo), SECOND),  # opening one waits for ever unless one is careful
    "device": (replace(lambda path: path.symlink_to("/dev/zero")), SECOND),
    # Catalogs.
    "dim is no JSON": (statement("UPDATE meta SET value = '[' WHERE key = 'dim'"), "catalog"),
    "dim is a text": (statement("UPDATE meta SET value = '\"16\"' WHERE key = 'dim'"), "dim"),
    "dim is infinite": (statement("UPDATE meta SET value = '1e400' WHERE key = 'dim'"), "dim"),
    "dim is huge": (statement("UPDATE meta SET value = '100000000000000' WHERE key = 'dim'"), "segments"),
    "dim is another": (statement("UPDATE meta SET value = '8' WHERE key = 'dim'"), "segments"),
    "other storage": (statement("UPDATE meta SET value = '\"float16\"' WHERE key = 'storage'"), "segments"),
    "no such storage": (statement("UPDATE meta SET value = '\"float64\"' WHERE key = 'storage'"), "storage"),
    "more items": (statement("UPDATE meta SET value = '99999' WHERE key = 'items'"), "items"),
    "deep details": (
        lambda folder: sql(folder, "UPDATE meta SET value = ? WHERE key = 'details'", "[" * 100_000),
        "catalog",
    ),
    "foreign file": (statement("UPDATE segments SET file = '../../etc/passwd' WHERE id = 1"), "is said"),
    "no file": (statement("UPDATE segments SET file = 'segments/..' WHERE id = 1"), "segments"),
    "file is a blob": (statement("UPDATE segments SET file = x'00' WHERE id = 1"), "is said"),
    "negative rows": (statement("UPDATE segments SET rows = -1 WHERE id = 1"), "is said"),
    "many rows": (statement("UPDATE segments SET rows = 1000000000000 WHERE id = 1"), "00000001"),
    "rows in words": (statement("UPDATE segments SET rows = 'many' WHERE id = 1"), "catalog"),
    "infinite size": (statement("UPDATE segments SET size = 9e300 WHERE id = 1"), "00000001"),
    "checksum is a blob": (statement("UPDATE segments SET checksum = x'ff' WHERE id = 1"), "00000001"),
    "foreign structure": (statement("UPDATE structures SET file = '/etc/passwd'"), "is said"),
    "no parameters": (statement("UPDATE structures SET parameters = 'null'"), "catalog"),
    "no measures": (statement("UPDATE structures SET measured = '3'"), "catalog"),
    "positions in words": (statement("UPDATE structures SET ids = 'text'"), "catalog"),
    # Pairs (first, how many): a few bytes can stand for any number.
    "many positions": (
        statement("UPDATE structures SET ids = ?", np.array([[0, 1 << 27]], "<i8").tobytes()),
        "catalog",
    ),
    "no items": (statement("DROP TABLE items"), "is missing"),
    "no meta": (statement("DROP TABLE meta"), "table meta is missing"),
    "no checksums": (statement("ALTER TABLE segments DROP COLUMN checksum"), "table segments is not ours"),
    "other ids": (statement("UPDATE items SET id = id + 1000000000000000000"), "items"),
    "newer": (statement("PRAGMA user_version = 3"), "newer release"),
    "much newer": (statement("PRAGMA user_version = 99"), "newer release"),
    "older": (statement("PRAGMA user_version = 1"), "early release"),
    "no version": (statement("PRAGMA user_version = -1"), "release"),
    "other program": (statement("PRAGMA application_id = 7"), "another program"),
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What came of each: one program uses them all, each in a process of its own."""
    base = tmp_path_factory.mktemp("misleading")
    folders = []
    for number, (change, _) in enumerate(MISLEADING.values()):
        folders.append(base / str(number) / "index")
        shutil.copytree(whole, folders[-1])
        change(folders[-1])
    done = subprocess.run(
        [sys.executable, SUPPORT / "fuzzed_reader.py", "given", *folders],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(MISLEADING, zip(json.loads(done.stdout), folders, strict=True), strict=True))


@pytest.mark.parametrize("name", MISLEADING)
def test_what_is_made_to_mislead_is_refused(outcomes: dict[str, object], name: str) -> None:
    outcome, folder = outcomes[name]
    assert isinstance(outcome, dict), outcome  # otherwise it says how the process ended
    for sentence in outcome["said"]:
        assert sentence is not None, "it was used as if nothing were wrong"
        assert len(sentence.splitlines()) == 1 and re.search(MISLEADING[name][1], sentence), sentence
    assert outcome["problems"], "verify finds nothing"
    assert outcome["grown"] < 300_000_000, "it took that much memory"
    if "segments" not in MISLEADING[name][1]:  # and nothing was deleted
        assert (folder / "segments" / "00000001.h5").exists()


def test_numbers_of_another_machine(folder: Path) -> None:
    """The same numbers with the bytes the other way round are the same numbers."""
    second_segment(lambda file, _: file.create_dataset("ids", data=np.arange(120, 200, dtype=">i8")))(folder)
    with Index.open(folder) as index:
        assert index.search(VECTORS[130:131], 1)[1][0, 0] == 130
    assert verify(folder).ok


def test_a_wrong_number_never_costs_a_segment(folder: Path) -> None:
    """A writer deletes the file that the next segment would have, as the leftover of a killed one."""
    sql(folder, "UPDATE meta SET value = '1' WHERE key = 'next_segment'")
    with contextlib.suppress(RetrievalError), Index.open(folder, write=True) as index:
        index.add(clustered(3, DIM, seed=5), named(3, 500))
    with h5py.File(folder / "segments" / "00000001.h5") as file:
        np.testing.assert_array_equal(file["ids"], np.arange(120))


def test_another_structures_file(folder: Path) -> None:
    """The checksum is right, the content another one's: too few vectors, other dimensions, another kind."""
    for factory, vectors in (("HNSW8,Flat", VECTORS[:50]), ("HNSW8,Flat", clustered(200, 8)), ("IVF2,Flat", VECTORS)):
        (path,) = (folder / "ann").iterdir()
        kinds.build(factory, vectors).write(path)
        forge(folder, "structures", path)
        with Index.open(folder) as index:
            _, ids = index.search(VECTORS[:5], 3)
            assert ids[[0, 1, 2, 4], 0].tolist() == [0, 1, 2, 4] and ids[3, 0] != 3  # which was removed
        verify(folder)


def test_a_structure_of_other_positions(folder: Path) -> None:
    """It was built over other items than the catalog says: the answers may be worse, and are still true."""
    sql(folder, "UPDATE meta SET value = '5000' WHERE key = 'next_id'")
    for ids in (np.arange(1000, 1200), np.arange(0, 400, 2)):
        sql(folder, "UPDATE structures SET ids = ?", to_runs(ids))
        with Index.open(folder) as index:
            scores, found = index.search(VECTORS[:5], 3)
            assert np.isin(found, index.all_vectors()[0]).all()
            expected = (VECTORS[found.ravel()].astype(float) * np.repeat(VECTORS[:5], 3, axis=0)).sum(axis=1)
            np.testing.assert_allclose(scores.ravel(), expected, atol=1e-6)


# Whole files in the wrong place


def test_an_older_catalog(folder: Path, tmp_path: Path) -> None:
    """One that was brought back from a copy: what came later is not in it, and everything else is."""
    shutil.copy(folder / "catalog.sqlite", tmp_path / "copy")
    with Index.open(folder, write=True) as index:
        index.add(clustered(5, DIM, seed=3), named(5, 700))
    shutil.copy(tmp_path / "copy", folder / "catalog.sqlite")
    with Index.open(folder, write=True) as index:
        assert len(index) == 198 and index.search(VECTORS[:1], 1)[1][0, 0] == 0
        index.add(clustered(5, DIM, seed=4), named(5, 800))
    assert verify(folder).ok


# The encoder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory) / "encoder"


def test_a_damaged_encoder_is_refused_or_right(model: Path, tmp_path: Path, long: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, tiny.SIZE, tiny.SIZE, 3), np.uint8)
    whole = Encoder.load(model, threads=1)
    expected, hash_ = whole.encode(pixels), whole.hash
    refusals = 0
    for number in range(400 if long else 40):
        rng = np.random.default_rng(number)
        folder = tmp_path / str(number)
        shutil.copytree(model, folder)
        name = str(rng.choice(["config.json", "config.json", "network.onnx", "weights.safetensors"]))
        content = bytearray((folder / name).read_bytes())
        how = rng.integers(4)
        if how < 2:
            content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        elif how == 2:
            del content[rng.integers(len(content)) :]
        else:
            content[:] = (model / str(rng.choice(["config.json", "network.onnx", "weights.safetensors"]))).read_bytes()
        (folder / name).write_bytes(content)
        try:
            encoder = Encoder.load(folder, threads=1)
            got = encoder.encode(pixels)
        except RetrievalError as error:
            refusals += 1
            assert len(str(error).splitlines()) == 1
        else:  # a changed letter may be a description's; what changes vectors changes the hash
            assert encoder.hash != hash_ or np.abs(got - expected).max() < 1e-5, (number, name)
        shutil.rmtree(folder)
    assert refusals >= 10


# Other programs, and what is derived


def test_foreign_folders(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "catalog.sqlite")) as connection:
        connection.execute("CREATE TABLE meta (key, value)")
    before = (tmp_path / "catalog.sqlite").read_bytes()
    for write in (False, True):
        with pytest.raises(RetrievalError, match="belongs to another program"):
            Index.open(tmp_path, write=write)
    assert (tmp_path / "catalog.sqlite").read_bytes() == before
    (tmp_path / "catalog.sqlite").unlink()
    (tmp_path / "catalog.sqlite").mkdir()
    with pytest.raises(RetrievalError, match="is not an index"):
        Index.open(tmp_path)


def test_a_damaged_structure_is_seen_to_by_the_next_build(folder: Path) -> None:
    """It is made again, or none is needed."""
    (path,) = (folder / "ann").iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert [problem.rebuildable for problem in verify(folder).problems] == [True]
    with Index.open(folder, write=True) as index:
        default_structure(index)
    assert verify(folder).ok
    with Index.open(folder) as index:
        index.search(VECTORS[:1], 3)
        assert index.warnings == []
