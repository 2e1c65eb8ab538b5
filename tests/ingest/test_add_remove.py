"""Single pictures into an index, and out of it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from built import contents, vectors, watch

from retrieval.cli import main
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError
from retrieval.exchange import import_index
from retrieval.images import read
from retrieval.ingest import add_pictures, build, remove_pictures, sync


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory)


@pytest.fixture
def root(tmp_path: Path, model: Path) -> Path:
    """Four pictures; ``index`` beside them holds them."""
    root = tiny.folder(tmp_path / "pictures", each=2)
    build(root, tmp_path / "index", model=model)
    return root


def test_pictures_from_everywhere(root: Path, tmp_path: Path, model: Path) -> None:
    before = contents(tmp_path / "index")
    elsewhere = tiny.folder(tmp_path / "elsewhere", classes=("fox", "owl"), each=1)
    tiny.picture(70).save(root / "dog/new.png")
    tiny.picture(71).save(root / "dog/scan.dat", "png")  # a build would pass it over
    tiny.picture(72).save(elsewhere / "fox/0.png")
    tiny.picture(73).save(elsewhere / "owl/0.png")
    report = add_pictures(tmp_path / "index", [root / "dog/new.png", root / "dog/scan.dat", elsewhere])
    assert (report.added, report.kept, report.total) == (4, 0, 8)
    after = contents(tmp_path / "index")
    outside = {f"{elsewhere}/fox/0.png", f"{elsewhere}/owl/0.png"}
    assert after.keys() - before.keys() == {"dog/new.png", "dog/scan.dat", *outside}
    assert [after[path][1] for path in ("dog/new.png", "dog/scan.dat", *outside)] == ["dog", "dog", None, None]
    encoder = Encoder.load(model)
    rows = vectors(tmp_path / "index")
    for path in after:
        expected = encoder.encode(read(root / path, encoder.config.preprocessing)[None])[0]
        np.testing.assert_allclose(rows[path], expected, atol=1e-6)

    shutil.rmtree(elsewhere)
    report = sync(tmp_path / "index")
    assert (report.changed, report.kept, report.total) == (False, 8, 8)
    assert contents(tmp_path / "index") == after
    (root / "dog/scan.dat").unlink()
    assert sync(tmp_path / "index").removed == 1


def test_only_what_changed_is_read(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(tmp_path / "index")
    tiny.picture(80).save(root / "cat/0.png")
    os.utime(root / "cat/1.png", ns=(0, 1))
    shutil.copy(root / "dog/0.png", root / "dog/copy.png")
    decoded = watch(monkeypatch)
    monkeypatch.chdir(root / "dog")
    report = add_pictures("../../index", ["../cat", "copy.png", "0.png", str(root / "dog/0.png")])
    assert (report.added, report.replaced, report.touched, report.kept, report.copied) == (1, 1, 1, 1, 1)
    assert len(decoded) == 1
    after = contents(tmp_path / "index")
    assert after["cat/0.png"][0] not in {id_ for id_, _ in before.values()}
    assert {path: after[path] for path in before if path != "cat/0.png"} == {
        path: item for path, item in before.items() if path != "cat/0.png"
    }


def test_what_cannot_be_read_is_left_out_and_takes_nothing_with_it(root: Path, tmp_path: Path) -> None:
    before = contents(tmp_path / "index")
    (root / "cat/0.png").write_bytes(b"no longer a picture")
    odd = Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.png"))
    tiny.picture(81).save(odd)
    with pytest.raises(RetrievalError, match="None of the 3 pictures given can be read"):
        add_pictures(tmp_path / "index", [root / "cat/0.png", root / "absent.png", odd])
    report = add_pictures(tmp_path / "index", [root / "cat/0.png", root / "absent.png", odd, root / "dog/0.png"])
    assert dict(report.skipped) == {
        "absent.png": "no such file",
        "cat/0.png": "not a picture",
        f"{tmp_path}/pictures/caf\\xe9.png": "name is not UTF-8",
    }
    assert contents(tmp_path / "index") == before


def test_a_link_stands_for_itself(root: Path, tmp_path: Path) -> None:
    tiny.picture(90).save(root / ".hidden.png")
    (root / "cat/link.png").symlink_to(root / ".hidden.png")
    (tmp_path / "way").symlink_to(root)
    assert add_pictures(tmp_path / "index", [tmp_path / "way/cat/link.png"]).added == 1
    assert contents(tmp_path / "index")["cat/link.png"][1] == "cat"
    assert not sync(tmp_path / "index").changed


def test_an_imported_index_keeps_what_it_came_with(root: Path, tmp_path: Path, model: Path) -> None:
    """Vectors of pictures that are not here, and whose labels are from elsewhere."""
    rows = np.eye(3, 16, dtype=np.float32)
    np.save(tmp_path / "vectors.npy", rows)
    listed = [{"path": "cat/0.png", "label": "x"}, {"path": "far/1.png", "label": "y"}, {"path": "far/2.png"}]
    (tmp_path / "vectors.jsonl").write_text("".join(json.dumps(item) + "\n" for item in listed))
    import_index(tmp_path / "vectors.npy", tmp_path / "bare", root=root)
    with pytest.raises(RetrievalError, match="has no encoder"):
        add_pictures(tmp_path / "bare", [root / "dog/0.png"])
    import_index(tmp_path / "vectors.npy", tmp_path / "whole", root=root, model=model)
    assert add_pictures(tmp_path / "whole", [root / "dog/0.png"]).added == 1
    report = sync(tmp_path / "whole")
    assert (report.added, report.replaced, report.kept, report.removed) == (2, 1, 3, 0)
    labels = {path: label for path, (_, label) in contents(tmp_path / "whole").items()}
    assert labels == {
        "cat/0.png": "x",
        "far/1.png": "y",
        **dict.fromkeys(["far/2.png", "cat/1.png", "dog/0.png", "dog/1.png"]),
    }
    assert not sync(tmp_path / "whole").changed


def test_removing(root: Path, tmp_path: Path) -> None:
    before = contents(tmp_path / "index")
    index = tmp_path / "index"
    one = before["cat/0.png"][0]
    for options in ({"ids": [one]}, {"paths": ["cat/0.png"]}, {"where": 'path = "cat/0.png"'}):
        done = remove_pictures(index, dry_run=True, **options)  # type: ignore[arg-type]
        assert ([item.path for item in done.items], done.total) == (["cat/0.png"], 3)
        assert contents(index) == before
    for options, message in (
        ({"ids": [one, 99]}, "has no item 99"),
        ({"paths": ["cat/0.png", "cat/99.png"]}, "There is no picture 'cat/99.png'"),
        ({"where": "label = "}, "label ="),
        ({"where": 'label in ("cat", "dog")'}, "would take out all 4 pictures"),
        ({"ids": [id_ for id_, _ in before.values()]}, "say --yes"),
    ):
        with pytest.raises(RetrievalError, match=message):
            remove_pictures(index, **options)  # type: ignore[arg-type]
        assert contents(index) == before
    assert remove_pictures(index, where='label = "cat"').total == 2
    assert contents(index) == {path: item for path, item in before.items() if item[1] == "dog"}
    assert remove_pictures(index, where='label = "cat"').items == ()
    assert remove_pictures(index, where='label = "dog"', everything=True).total == 0
    report = sync(index)  # their files were not deleted
    assert (report.added, report.total) == (4, 4)
    assert not {id_ for id_, _ in contents(index).values()} & {id_ for id_, _ in before.values()}


def test_the_command_line(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def say(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        return code, *capsys.readouterr()

    tiny.picture(60).save("pictures/cat/new.png")
    Path("pictures/cat/bad.png").write_bytes(b"?")
    code, out, err = say("add", "index", "pictures/cat/new.png", "pictures/cat/bad.png", "pictures/cat/0.png")
    assert (code, err) == (0, "'cat/bad.png' is left out: not a picture\n")
    assert out.startswith("index: 5 pictures (1 new, 1 kept) in ")
    Path("pictures/cat/bad.png").unlink()
    os.utime("pictures/cat/new.png", ns=(0, 1))
    Path("pictures/cat/0.png").rename("pictures/cat/zero.png")
    shutil.copy("pictures/dog/0.png", "pictures/dog/copy.png")
    code, out, err = say("sync", "index")
    assert (code, err) == (0, "")
    assert out.startswith("index: 6 pictures (1 new, 1 renamed, 1 touched, 3 kept) in ")
    assert "not encoded: 1, of the same bytes as others\n" in out
    assert say("sync", "index", "pictures", "--checksum")[1].startswith("index: nothing to do, all 6 pictures")
    assert json.loads(say("sync", "index", "--json")[1])["kept"] == 6

    code, out, err = say("remove", "index", "--where", 'label = "dog"', "--dry-run")
    assert (code, err) == (0, "")
    assert out == "index: 3 would be taken out, 3 left\n  2  'dog/0.png'\n  3  'dog/1.png'\n  5  'dog/copy.png'\n"
    code, out, err = say("remove", "index", "--path", "dog/copy.png", "--json")
    assert json.loads(out)["items"] == [{"id": 5, "path": "dog/copy.png", "label": "dog"}]
    assert say("remove", "index", "--id", "2", "3", "4", "0", "1") == (
        1,
        "",
        "retrieval: That would take out all 5 pictures of the index 'index'; say --yes if it is meant.\n",
    )
    with pytest.raises(SystemExit):
        main(["remove", "index", "--id", "2", "--path", "cat/1.png"])
    assert say("sync", "absent")[0] == 1
    Path("pictures").rename("moved")
    code, out, err = say("sync", "index")
    assert (code, out) == (1, "")
    assert err.endswith("say where it was moved to: retrieval sync index FOLDER.\n")
    assert err.count("\n") == 1
    assert say("sync", "index", "moved")[1].startswith("index: 6 pictures (1 new, 5 kept)")
