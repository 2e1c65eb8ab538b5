"""Where labels come from, and lists that change."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
from built import contents, watch

from retrieval.cli import main
from retrieval.errors import RetrievalError
from retrieval.ingest import add_pictures, build, sync
from retrieval.ingest.label_rule import label_rule


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory)


def test_labels(tmp_path: Path) -> None:
    def auto(*paths: str) -> list[str | None]:
        rule = label_rule("auto", tmp_path, paths)
        return [rule(path) for path in paths]

    assert auto("cat/1.png", "dog/2.png") == ["cat", "dog"]
    assert auto("latin/a/1.png", "latin/b/1.png", "greek/a/1.png") == ["latin/a", "latin/b", "greek/a"]
    assert auto("cat/1.png", "cat/2.png") == [None, None]  # one folder tells nothing apart
    assert auto("cat/1.png", "dog/2.png", "3.png") == ["cat", "dog", None]  # a loose cover
    assert auto("cat/1.png", "dog/2.png", "cat/thumbs/1.png") == ["cat", "dog", "cat"]
    assert auto("a/cat/1.png", "a/dog/2.png", "a/dog/x/3.png", "a/4.png", "b/cat/5.png") == [
        "a/cat", "a/dog", "a/dog", None, "b/cat"
    ]  # fmt: skip
    assert auto("cat/1.png", "dog/big/2.png") == [None] * 2
    assert auto("1.png", "2.png") == [None] * 2
    folders = label_rule("folders", tmp_path, ["3.png", "dog/big/2.png"])
    assert [folders("3.png"), folders("dog/big/2.png")] == [None, "dog/big"]
    assert label_rule("none", tmp_path, ["cat/1.png", "dog/2.png"])("cat/1.png") is None
    assert label_rule("auto", tmp_path, ["cat/1.png", "dog/2.png"], recorded="none").name == "none"


def test_labels_from_a_list(tmp_path: Path, model: Path) -> None:
    root = tiny.folder(tmp_path / "pictures", each=1)
    listed = tmp_path / "list.csv"
    listed.write_text(
        'label,path\n"a ""quoted"", one",cat/0.png\nkind,pictures/dog/0.png\nx,missing.png\n', "utf-8-sig"
    )
    report = build(root, tmp_path / "index", model=model, labels=listed)
    assert (report.labels, report.classes) == ("csv", 2)
    assert {path: label for path, (_, label) in contents(tmp_path / "index").items()} == {
        "cat/0.png": 'a "quoted", one',
        "dog/0.png": "kind",
    }
    assert not build(root, tmp_path / "index", labels=listed).changed
    with pytest.raises(RetrievalError, match="with other labels"):
        build(root, tmp_path / "index", labels="folders")
    for text, message in (
        ("path,label\nnowhere.png,x\n", "name none of the 2 pictures"),
        ("file,class\ncat/0.png,x\n", "have the columns class, file; two must be called path and label"),
        ("", r"have the columns \(none\)"),
    ):
        listed.write_text(text)
        with pytest.raises(RetrievalError, match=message):
            build(root, tmp_path / "new", model=model, labels=listed)
    with pytest.raises(RetrievalError, match="cannot be read"):
        build(root, tmp_path / "new", model=model, labels=tmp_path / "absent.csv")


def test_a_list_says_what_it_does_not_match(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "pictures"
    (root / "in").mkdir(parents=True)
    for number, name in enumerate(("cafe\u0301.png", "in/B.PNG", "c.png", "d.png")):
        tiny.picture(number).save(root / name)
    (tmp_path / "list.csv").write_text(
        "Label; Path\none; caf\u00e9.png\ntwo; .\\in\\b.png\nthree; nowhere.png\nfour; ./c.png\nfour; c.png\n", "utf-8"
    )
    options = ["--model", str(model), "--labels", str(tmp_path / "list.csv"), "--out", str(tmp_path / "index")]
    assert main(["build", str(root), *options]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")] == [
        "note: 1 names in the list are of no picture, or may be of several: 'nowhere.png'",
        "note: 1 pictures have no label in the list: 'd.png'",
    ]
    labels = {path: label for path, (_, label) in contents(tmp_path / "index").items()}
    assert labels == {"cafe\u0301.png": "one", "in/B.PNG": "two", "c.png": "four", "d.png": None}
    (tmp_path / "list.csv").write_text("path,label\nc.png,one\nd.png,two\nC.png,other\n")
    with pytest.raises(
        RetrievalError, match=r"Line 4 of .* gives 'c.png' the label 'other', and line 2 'one'; take one"
    ):
        build(root, tmp_path / "index", labels=tmp_path / "list.csv")


def test_strays_do_not_switch_the_labels_of_folders_off(tmp_path: Path, model: Path) -> None:
    root = tiny.folder(tmp_path / "pictures", each=2)
    tiny.picture(7).save(root / "cover.png")
    (root / "cat/thumbs").mkdir()
    tiny.picture(8).save(root / "cat/thumbs/0.png")
    report = build(root, tmp_path / "index", model=model)
    assert report.notes == (
        "1 pictures lie in no class folder and have no label: 'cover.png'",
        "1 pictures lie deeper than the class folders, whose labels they have: 'cat/thumbs/0.png'",
    )
    assert (report.labels, report.classes) == ("folders", 2)
    labels = {path: label for path, (_, label) in contents(tmp_path / "index").items()}
    assert (labels["cat/0.png"], labels["cat/thumbs/0.png"], labels["cover.png"]) == ("cat", "cat", None)
    (root / "dog/new").mkdir()
    tiny.picture(9).save(root / "dog/new/9.png")
    tiny.picture(10).save(root / "10.png")
    assert sync(tmp_path / "index").added == 2
    labels = {path: label for path, (_, label) in contents(tmp_path / "index").items()}
    assert (labels["dog/new/9.png"], labels["10.png"]) == ("dog", None)
    assert not build(root, tmp_path / "index").changed
    tiny.picture(11).save(root / "cat/thumbs/11.png")
    add_pictures(tmp_path / "index", [root / "cat/thumbs/11.png"])  # which alone would tell of another depth
    assert contents(tmp_path / "index")["cat/thumbs/11.png"][1] == "cat"
    mixed = label_rule("auto", root, ["a/1.png", "b/c/2.png", "d.png"])
    assert mixed.name == "none" and "0 to 2 folders deep" in mixed.notes[0]


def test_a_list_that_has_grown(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tiny.folder(tmp_path / "pictures", each=2)
    listed = tmp_path / "list.csv"
    listed.write_text("path,label\ncat/0.png,a\ncat/1.png,a\ndog/0.png,b\n")
    build(root, tmp_path / "index", model=model, labels=listed)
    before = contents(tmp_path / "index")
    tiny.picture(50).save(root / "new.png")
    listed.write_text("path,label\ncat/0.png,a\ncat/1.png,c\ndog/1.png,b\nnew.png,c\n")
    decoded = watch(monkeypatch)
    report = build(root, tmp_path / "index", labels=listed)
    assert (report.added, report.kept, report.relabelled, report.classes, len(decoded)) == (1, 4, 3, 3, 1)
    after = contents(tmp_path / "index")
    labels = {"cat/0.png": "a", "cat/1.png": "c", "dog/0.png": None, "dog/1.png": "b", "new.png": "c"}
    assert {path: label for path, (_, label) in after.items()} == labels
    assert {path: after[path][0] for path in before} == {path: id_ for path, (id_, _) in before.items()}
    assert not sync(tmp_path / "index", labels=listed).changed


def test_without_its_list_an_index_keeps_its_labels(tmp_path: Path, model: Path) -> None:
    root = tiny.folder(tmp_path / "pictures", each=2)
    listed = tmp_path / "list.csv"
    listed.write_text("path,label\ncat/0.png,a\ncat/1.png,a\ndog/0.png,b\nmoved.png,c\nnew.png,b\n")
    build(root, tmp_path / "index", model=model, labels=listed)
    (root / "cat/0.png").rename(root / "moved.png")
    tiny.picture(50).save(root / "new.png")
    tiny.picture(51).save(root / "cat/1.png")
    report = sync(tmp_path / "index")
    assert (report.added, report.replaced, report.renamed, report.labels) == (1, 1, 1, "csv")
    labels = {path: label for path, (_, label) in contents(tmp_path / "index").items()}
    assert labels == {"cat/1.png": "a", "dog/0.png": "b", "dog/1.png": None, "moved.png": "a", "new.png": None}
    assert not build(root, tmp_path / "index").changed
    assert add_pictures(tmp_path / "index", [root / "new.png"]).kept == 1
    report = sync(tmp_path / "index", labels=listed)  # the very list that it was built with
    assert report.relabelled == 2
    labels = {path: label for path, (_, label) in contents(tmp_path / "index").items()}
    assert labels == {"cat/1.png": "a", "dog/0.png": "b", "dog/1.png": None, "moved.png": "c", "new.png": "b"}
    assert sync(tmp_path / "index", labels=listed).relabelled == 0
