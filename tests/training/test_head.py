"""Heads: the closed form against a slow one, what is chosen, what is gained, and the encoder that comes of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tiny

from retrieval import HeadRecipe, Index, RetrievalError, Search, build, map_index, train_head
from retrieval.cli import main
from retrieval.encoder import Encoder, encoder
from retrieval.encoder.head_map import HeadMap, unit
from retrieval.index import NewItem
from retrieval.training.head import head_loop
from retrieval.training.head.choosing import Learner, choose
from retrieval.training.head.discriminant import Discriminant, Sums
from retrieval.training.head.gradient import by_loss

D = 12


def clusters(
    classes: int, each: int, seed: int = 0, noise: float = 3.0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Classes that differ in the first half of the numbers, in noise that is loudest in the other half."""
    random = np.random.default_rng(seed)
    centres = np.zeros((classes, D))
    centres[:, : D // 2] = np.random.default_rng(99).standard_normal((classes, D // 2))
    scale = np.r_[np.full(D // 2, 0.4), np.full(D // 2, noise)]
    labels = np.repeat(np.arange(classes), each)
    return unit((centres[labels] + scale * random.standard_normal((len(labels), D))).astype(np.float32)), labels


def test_the_sums_of_parts_are_those_of_the_whole() -> None:
    vectors, labels = clusters(4, 9)
    half = np.arange(len(labels)) % 2 == 0
    whole = Sums.of(vectors, labels, 4)
    parts = Sums.of(vectors[half], labels[half], 4) + Sums.of(vectors[~half], labels[~half], 4)
    for name in ("counts", "sums", "products"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-5)
        np.testing.assert_allclose(
            getattr(whole - Sums.of(vectors[half], labels[half], 4), name)[0],
            getattr(Sums.of(vectors[~half], labels[~half], 4), name)[0],
            atol=1e-5,
        )


@pytest.mark.parametrize("shrinkage", [0.05, 0.5, 1.0])
def test_the_layers_are_those_of_the_formulas(shrinkage: float) -> None:
    vectors, labels = clusters(5, 20)
    known = Discriminant(Sums.of(vectors, labels, 5))
    x = vectors.astype(np.float64)
    means = np.stack([x[labels == c].mean(0) for c in range(5)])
    within = (x - means[labels]).T @ (x - means[labels]) / len(x)
    shrunk = (1 - shrinkage) * within + shrinkage * np.trace(within) / D * np.eye(D)

    white, bias = known.whitening(shrinkage, D)
    np.testing.assert_allclose(white @ shrunk @ white.T, np.eye(D), atol=1e-3)
    np.testing.assert_allclose(white @ x.mean(0) + bias, 0, atol=1e-3)

    rows, _ = known.discriminant(shrinkage, 99)
    assert len(rows) == 4  # one less than there are classes
    between = (means[labels] - x.mean(0)).T @ (means[labels] - x.mean(0)) / len(x)
    values, axes = np.linalg.eig(np.linalg.solve(shrunk, between))
    best = axes[:, np.argsort(-values.real)[:4]].real
    for row in rows:  # lies in the space that the generalised eigenvectors span
        rest = row - best @ np.linalg.lstsq(best, row, rcond=None)[0]
        assert np.linalg.norm(rest) < 1e-3 * np.linalg.norm(row)


def test_a_whitening_that_is_cut_keeps_where_the_vectors_spread_most() -> None:
    vectors, labels = clusters(5, 20)
    known = Discriminant(Sums.of(vectors, labels, 5))
    whole, cut = (vectors @ layer[0].T for layer in (known.whitening(0.3, D), known.whitening(0.3, 3)))
    values = np.linalg.eigvalsh(np.cov(whole.T, bias=True))[::-1]
    np.testing.assert_allclose(np.cov(cut.T, bias=True).diagonal(), values[:3], rtol=1e-2)


def test_a_class_of_one_picture_and_a_constant_direction_do_no_harm() -> None:
    vectors, labels = clusters(3, 6)
    vectors = np.concatenate([vectors, vectors[:1]])
    labels = np.concatenate([labels, [3]])
    vectors[:, 0] = 0
    known = Discriminant(Sums.of(vectors, labels, 4))
    for layer in (known.whitening(0.05, D), known.discriminant(0.05, D)):
        assert np.isfinite(layer[0]).all()
        assert np.isfinite(layer[1]).all()


def test_classes_whose_pictures_do_not_differ_do_no_harm() -> None:
    vectors = np.repeat(np.eye(3, D, dtype=np.float32), 4, axis=0)
    known = Discriminant(Sums.of(vectors, np.repeat(np.arange(3), 4), 3))
    for rows, offset in (known.whitening(0.1, D), known.whitening(0.1, 2), known.discriminant(0.1, D)):
        mapped = vectors @ rows.T + offset
        assert np.isfinite(mapped).all()
        assert np.ptp(mapped.reshape(3, 4, -1), axis=1).max() == 0
        assert len(np.unique(mapped.round(3), axis=0)) == 3


def test_what_is_chosen_is_better_on_both_kinds_of_held_out_pictures() -> None:
    vectors, labels = clusters(12, 20)
    choice, quality = choose(Learner(vectors, labels))
    assert quality[choice] >= max(quality.values()) - 0.02
    assert choose(Learner(vectors, labels))[0] == choice  # one seed repeats
    head = Learner(vectors, labels).made(choice)
    others, truth = clusters(12, 20, seed=1)
    right = {}
    for name, made in (("base", np.asarray), ("head", head)):
        right[name] = (labels[(made(others) @ made(vectors).T).argmax(1)] == truth).mean()
    assert right["head"] > right["base"] + 0.1


def test_with_two_classes_pictures_of_one_do_not_all_tie() -> None:
    vectors, labels = clusters(2, 40, noise=0.5)
    head = Learner(vectors, labels).made(choose(Learner(vectors, labels))[0])
    scores = head(vectors) @ head(vectors).T
    assert len(np.unique(scores[0].round(4))) > 40


@pytest.mark.parametrize("dim", [1, 3, 8, 14, 30])
def test_a_head_is_never_longer_than_was_asked_for(dim: int) -> None:
    vectors, labels = clusters(6, 12)
    learner = Learner(vectors, labels, dim=dim)
    head = learner.made(choose(learner, mix=0.5)[0])
    assert head.dim <= dim
    rows = head(vectors)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert rows.shape == (len(vectors), head.dim)


def test_a_layer_learned_by_a_loss_beats_the_vectors() -> None:
    vectors, labels = clusters(6, 30)
    recipe = HeadRecipe(loss="supcon", pictures_per_class=10, classes_per_batch=6, epochs=30, dim=4)
    learn = by_loss(vectors, labels, recipe)
    everything = np.ones(len(labels), bool)
    weight, bias = learn(everything)
    again = learn(everything)
    np.testing.assert_array_equal(weight, again[0])  # one seed repeats
    assert weight.shape == (4, D)
    others, truth = clusters(6, 20, seed=1)
    head = HeadMap(weight, bias)
    scores = {"base": others @ vectors.T, "head": head(others) @ head(vectors).T}
    right = {name: (labels[found.argmax(1)] == truth).mean() for name, found in scores.items()}
    assert right["head"] > right["base"]


CLASSES = ("ant", "bee", "cow", "dog", "eel", "fox", "gnu")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of small pictures, labelled by their folders."""
    root = tiny.folder(tmp_path_factory.mktemp("pictures"), CLASSES, each=6)
    out = tmp_path_factory.mktemp("indexes") / "photos"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "compare", tiny.only_vectors)
        build(root, out, model=tiny.model(tmp_path_factory))
    with Index.open(out, write=True) as opened:
        opened.attach({3: {"year": 1999, "note": "a b"}})
        opened.remove([5])
    return out


@pytest.fixture(scope="module")
def head(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head that learned from that index."""
    out = tmp_path_factory.mktemp("runs") / "head"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "compare", tiny.only_vectors)
        train_head(index, out, HeadRecipe(shrinkage=0.5, mix=0.5))
    return out


def test_the_encoder_of_a_head_is_base_and_head(index: Path, head: Path) -> None:
    base, whole = Encoder.load(index), Encoder.load(head)
    found = whole.head()
    assert found is not None and found[0] == base.hash
    assert base.head() is None
    pixels = np.random.default_rng(0).integers(0, 256, (5, tiny.SIZE, tiny.SIZE, 3), np.uint8)
    np.testing.assert_allclose(whole.encode(pixels), found[1](base.encode(pixels)), atol=1e-5)
    assert whole.dim == found[1].dim == whole.encode(pixels).shape[1]
    np.testing.assert_allclose(Encoder.load(head, runtime="torch").encode(pixels), whole.encode(pixels), atol=1e-5)
    shares = whole.shares(pixels)
    if base.shares(pixels) is not None:
        assert shares is not None
        np.testing.assert_allclose(shares.positions.sum((1, 2)) + shares.constant, whole.encode(pixels), atol=1e-5)


def test_a_head_says_what_it_gained(head: Path) -> None:
    kept = json.loads((head / "gain.json").read_text())
    assert {one["held_out"] for one in kept["gains"]} == {"held-out pictures of known classes", "classes never seen"}
    for one in kept["gains"]:
        for figures in one["measures"].values():
            low, high = figures["difference"][1:]
            assert low <= figures["head"] - figures["base"] + 1e-9 <= high + 2e-9
    card = (head / "encoder" / "card.md").read_text()
    assert "Gain on classes never seen" in card


def test_mapped_vectors_are_those_of_encoding_anew(index: Path, head: Path, tmp_path: Path) -> None:
    with Index.open(index) as before:
        root, generation = before.root, before.generation
        count = map_index(index, tmp_path / "mine", model=head)
        assert before.in_place and before.generation == generation == Index.open(index).generation
    build(root, tmp_path / "anew", model=head)
    with Index.open(tmp_path / "mine") as mine, Index.open(tmp_path / "anew") as anew, Index.open(index) as old:
        assert len(mine) == count == len(old)
        np.testing.assert_array_equal(mine.ids(), old.ids())
        assert mine.items(mine.ids()) == old.items(old.ids())
        assert mine.attributes([3]) == [{"year": 1999, "note": "a b"}]
        assert (mine.encoder_hash, mine.dim) == (anew.encoder_hash, anew.dim)
        for item, vector in zip(mine.items(mine.ids()), mine.all_vectors()[1], strict=True):
            other = anew.find(item.path)
            assert other is not None
            assert vector @ anew.vectors([other.id])[0] >= 1 - 1e-5
        new = mine.items(mine.ids())[0]
        mine_next = NewItem("new.png", None, 1, 1, 1, 1, "0" * 64)
    with Index.open(tmp_path / "mine", write=True) as mine:  # ids go on where the old index's do
        (given,) = mine.add(mine.vectors([new.id]), [mine_next])
        assert given > 5
    with Search.open(tmp_path / "mine") as search:
        assert search.query_paths([new.path], 3)[0].hits[0].path == "new.png"


def test_what_cannot_be_mapped_is_refused(
    index: Path, head: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tiny.model(tmp_path_factory, seed=1)
    with pytest.raises(RetrievalError, match="is no head over another encoder"):
        map_index(index, tmp_path / "x", model=other)
    build(Index.open(index).root, tmp_path / "other", model=other)
    with pytest.raises(RetrievalError, match="lies over the encoder"):
        map_index(tmp_path / "other", tmp_path / "x", model=head)
    with pytest.raises(RetrievalError, match="is an index already"):
        map_index(index, tmp_path / "other", model=head)
    with pytest.raises(RetrievalError, match="would be gone"):
        map_index(index, index.parent / "." / index.name, model=head, overwrite=True)
    with pytest.raises(RetrievalError, match="is a head already"):
        train_head(map_to(index, head, tmp_path / "mine"), tmp_path / "run")
    assert not (tmp_path / "x").exists()


def map_to(index: Path, head: Path, out: Path) -> Path:
    map_index(index, out, model=head)
    return out


def test_an_index_is_replaced_by_a_mapped_one_in_one_step(index: Path, head: Path, tmp_path: Path) -> None:
    out = map_to(index, head, tmp_path / "mine")
    (out / "mine.txt").write_text("somebody's")
    map_index(index, out, model=head, vectors="float16", overwrite=True)
    with Index.open(out) as opened:
        assert opened.storage == "float16"
    assert (out / "mine.txt").read_text() == "somebody's"


def test_a_labelled_set_is_encoded_once(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "compare", tiny.only_vectors)
    root = tiny.folder(tmp_path / "set", CLASSES[:4], each=5)
    recipe = HeadRecipe(on=str(tiny.model(tmp_path_factory)), shrinkage=0.5)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head_loop, "choose", stop)
        with pytest.raises(KeyboardInterrupt):
            train_head(root, tmp_path / "run", recipe)
    with pytest.raises(RetrievalError, match="--resume"):
        train_head(root, tmp_path / "run", recipe)
    known = json.loads((tmp_path / "run" / "vectors.json").read_text())
    for rows in ([*known["rows"][:-1], 10**30], [*known["rows"][:-1], 999], [-5, *known["rows"][1:]], "x", None):
        (tmp_path / "run" / "vectors.json").write_text(json.dumps({**known, "rows": rows}))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("retrieval.training.head.labelled_source.encode_set", stop)  # what is damaged is made anew
            with pytest.raises(KeyboardInterrupt):
                train_head(root, tmp_path / "run", recipe, resume=True)
    (tmp_path / "run" / "vectors.json").write_text(json.dumps(known))
    monkeypatch.setattr("retrieval.training.head.labelled_source.encode_set", stop)
    trained = train_head(root, tmp_path / "run", recipe, resume=True)
    assert Encoder.load(tmp_path / "run").dim == trained.dim


def test_a_training_cut_off_at_its_end_can_be_run_again(index: Path, tmp_path: Path) -> None:
    out, recipe = tmp_path / "run", HeadRecipe(shrinkage=0.5, mix=0.5)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "compare", tiny.only_vectors)
        with pytest.MonkeyPatch.context() as cut:
            cut.setattr(Encoder, "save", stop)
            with pytest.raises(KeyboardInterrupt):
                train_head(index, out, recipe)
        assert {path.name for path in out.iterdir()} == {"recipe.json", "gain.json"}
        train_head(index, out, recipe)
    assert Encoder.load(out).dim
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "recipe.json").write_text('{"eggs": 3}')
    with pytest.raises(RetrievalError, match="no training of ours"):
        train_head(index, tmp_path / "mine", recipe)
    assert (tmp_path / "mine" / "recipe.json").read_text() == '{"eggs": 3}'


@pytest.mark.parametrize("name", ["mix", "lr"])
def test_endless_numbers_are_refused(name: str) -> None:
    with pytest.raises(RetrievalError, match=f"--{name} must be a finite number, not inf"):
        HeadRecipe(**{"loss": "triplet", name: math.inf})


def test_the_command_line(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(encoder, "compare", tiny.only_vectors)

    def run(*arguments: object) -> str:
        assert main([str(one) for one in arguments]) == 0
        return capsys.readouterr().out

    def fails(*arguments: object) -> str:
        assert main([str(one) for one in arguments]) == 1
        return capsys.readouterr().err

    said = run("train", index, "--net", "head", "--out", tmp_path / "run", "--shrinkage", "0.5", "--mix", "0.5")
    assert "Gain on classes never seen" in said
    said = run("build", "--vectors-of", index, "--model", tmp_path / "run", "--out", tmp_path / "mine", "--json")
    assert json.loads(said)["total"] == len(Index.open(index))
    for arguments, sentence in (
        (["train", index, "--net", "head", "--out", tmp_path / "r", "--epochs", "3"], "says nothing in closed form"),
        (["train", index, "--net", "head", "--out", tmp_path / "r", "--widths", "8"], "does not go with --net head"),
        (["train", index, "--net", "head", "--out", tmp_path / "r", "--loss", "csq"], "makes codes"),
        (["train", index, "--out", tmp_path / "r", "--mix", "1"], "goes with --net head"),
        (["build", "--vectors-of", index, "--model", tmp_path / "run"], "goes with --model"),
        (["build", index, "--vectors-of", index], "one of the two"),
        (["build", "--vectors-of", index, "--model", tmp_path / "run", "--out", tmp_path / "m", "--gps"], "--gps says"),
    ):
        assert sentence in fails(*arguments)


def test_a_head_learns_from_marks(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Marks of some questions; what was gained is measured on others."""
    base = Encoder.load(tiny.model(tmp_path_factory))
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(8), 12)
    centres = random.standard_normal((8, base.dim)) * np.r_[np.ones(6), np.zeros(base.dim - 6)]
    noise = random.standard_normal((len(labels), base.dim)) * np.r_[np.full(6, 0.3), np.full(base.dim - 6, 1.5)]
    vectors = unit((centres[labels] + noise).astype(np.float32))
    with Index.create(tmp_path / "i", base.dim, root=".", encoder_hash=base.hash, details={}) as index:
        index.add(vectors, [NewItem(f"{row}.png", sha256=f"{row:064x}") for row in range(len(labels))])
    base.save(tmp_path / "i" / "encoder")
    lines = []
    for row in range(0, len(labels), 4):
        for other in np.argsort(-(vectors @ vectors[row]))[1:9].tolist():
            right = bool(labels[other] == labels[row])
            lines.append({"query": f"id:{row}", "item": f"{other}.png", "sha256": f"{other:064x}", "right": right})
    lines.append({"query": "id:0", "item": "gone.png", "right": True})
    lines.append({"query": "id:0", "item": "1.png", "sha256": "f" * 64, "right": True})
    (tmp_path / "marks.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipe = HeadRecipe(marks=str(tmp_path / "marks.jsonl"))
    trained = train_head(tmp_path / "i", tmp_path / "run", recipe)
    (gain,) = trained.gains
    assert gain.measures["right before wrong"].difference.value > 0.1
    assert "2 left out" in (tmp_path / "run" / "encoder" / "card.md").read_text()
    with pytest.raises(RetrievalError, match="a head needs 10 of each"):
        (tmp_path / "few.jsonl").write_text(json.dumps(lines[0]) + "\n")
        train_head(tmp_path / "i", tmp_path / "other", HeadRecipe(marks=str(tmp_path / "few.jsonl")))
    assert not (tmp_path / "other" / "encoder").exists()
    with pytest.raises(RetrievalError, match="learns from labels"):
        HeadRecipe(marks="marks.jsonl", loss="supcon")


def test_words_go_through_a_head_only_where_they_find_no_less() -> None:
    class Known:
        """An encoder of texts; its vectors of words are those of the classes, or nonsense."""

        class config:  # noqa: N801
            text = True

        def __init__(self, good: bool) -> None:
            self.good = good

        def encode_text(self, texts: list[str]) -> npt.NDArray[np.float32]:
            means = np.stack([vectors[labels == int(text)].mean(0) for text in texts])
            return unit(means.astype(np.float32))

    vectors, labels = clusters(6, 20)
    names = [str(label) for label in range(6)]
    good = Learner(vectors, labels).made(choose(Learner(vectors, labels), mix=0)[0])
    bad = HeadMap(np.ones((1, D), np.float32), np.zeros(1, np.float32))
    for head, verdict in ((good, True), (bad, False)):
        line, text = head_loop._words(Known(True), head, names, (vectors, labels))  # type: ignore[arg-type]
        assert text is verdict
        assert "words" in line[0]
