"""Pair networks that learn from an encoder's hits, and the score of both together."""

import dataclasses
import itertools
import json
import math
import signal

import numpy as np
import pytest
import tiny
import torch
from test_pairs import QUICK, TWO_CHANNEL, made_up

from retrieval import images
from retrieval.base.files import digest
from retrieval.base.saved_folder import WEIGHTS
from retrieval.cli import main
from retrieval.encoder import Encoder, EncoderConfig
from retrieval.encoder.pair_config import PairConfig
from retrieval.encoder.pair_scorer import PairScorer
from retrieval.encoder.score_fusion import Together, fit
from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing
from retrieval.index import Index
from retrieval.ingest import build
from retrieval.networks import pairs as networks
from retrieval.search.rerank.pair_network import PairReranker
from retrieval.search.search import Search
from retrieval.training.engine import Engine
from retrieval.training.pair_recipe import PairRecipe
from retrieval.training.pairs import pair_loop
from retrieval.training.pairs.encoder_hits import Hits
from retrieval.training.pairs.objective import AllPairs, BothSides, DrawnPairs, OneSide, objective
from retrieval.training.pairs.pair_loop import train_pair
from retrieval.training.sampling.pairs import HitPairs, WrongHits
from retrieval.training.training_set import Source

CLASSES, EACH = 8, 6


def unit(n=CLASSES * EACH, d=3, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def slow_wrong_hits(vectors, labels, top, gallery):
    """Of each picture, the set of hits of other classes."""
    found = []
    for row, vector in enumerate(vectors):
        others = [other for other in gallery if other != row]
        others.sort(key=lambda other: -float(vectors[other].astype(np.float64) @ vector))
        found.append({other for other in others[:top] if labels[other] != labels[row]})
    return found


def hits_of(vectors, labels, seed=0):
    """Those of an encoder that gave these vectors."""
    hits = Hits.__new__(Hits)
    hits.labels, hits.train, hits.seed, hits._vectors = labels, len(labels), seed, vectors
    hits._gallery = np.arange(len(labels))
    return hits


def test_wrong_hits_are_those_of_other_classes_among_the_first(monkeypatch):
    monkeypatch.setattr("retrieval.training.pairs.encoder_hits.AT_ONCE", 7)
    monkeypatch.setattr("retrieval.training.pairs.encoder_hits.TOP", 10)
    vectors, labels = unit(), np.arange(CLASSES * EACH) % CLASSES
    for gallery in (np.arange(len(labels)), np.sort(np.random.default_rng(0).permutation(len(labels))[:20])):
        hits = hits_of(vectors, labels)
        hits._gallery = gallery
        found, slow = hits.wrong(), slow_wrong_hits(vectors, labels, 10, gallery.tolist())
        for row, expected in enumerate(slow):
            begin = found.starts[row]
            assert set(found.rows[begin : begin + found.counts[row]].tolist()) == expected
        assert len(found.rows) == sum(map(len, slow)) > 0


def test_impostors_are_wrong_hits_but_for_a_share(monkeypatch):
    labels = np.repeat(np.arange(CLASSES), EACH)
    labels[5] = -1
    known = labels >= 0
    monkeypatch.setattr("retrieval.training.pairs.encoder_hits.TOP", 9)
    wrong = hits_of(unit(), np.where(known, labels, 99)).wrong()
    counts = wrong.counts.copy()
    counts[0] = 0  # a picture that the encoder never confuses
    wrong = WrongHits(wrong.rows, wrong.starts, counts)
    keep = known[wrong.rows]  # unlabelled pictures are no hits
    hits = [
        [hit for hit in wrong.rows[begin : begin + count].tolist() if known[hit]]
        for begin, count in zip(wrong.starts, counts, strict=True)
    ]
    assert not keep.all()
    counts = np.array([len(one) for one in hits])
    wrong = WrongHits(np.concatenate(hits).astype(np.int64), counts.cumsum() - counts, counts)
    for share in (0.0, 0.5, 1.0):
        sampler = HitPairs(labels, 32, seed=1, wrong=wrong, at_random=share)
        hard, impostors, firsts = 0, 0, set()
        for epoch in range(40):
            for batch in sampler.epoch(epoch):
                first, second = batch.reshape(2, -1)
                genuine = labels[first] == labels[second]
                assert genuine.sum() == 16 and (first[genuine] != second[genuine]).all() and known[batch].all()
                firsts.update(first[~genuine].tolist())
                for a, b in zip(first[~genuine].tolist(), second[~genuine].tolist(), strict=True):
                    if hits[a]:
                        impostors += 1
                        hard += b in hits[a]
        assert firsts == set(np.flatnonzero(known).tolist())
        chance = np.mean([len(one) / (labels[known] != labels[a]).sum() for a, one in enumerate(hits) if one])
        assert hard / impostors == pytest.approx(1 - share + share * chance, abs=0.03)
    a, b = (list(HitPairs(labels, 32, 1, wrong).epoch(3)) for _ in range(2))
    assert all(map(np.array_equal, a, b))


def test_all_pairs_count_as_the_formula_says():
    """Mean of −log σ(z) over genuine pairs, and of −log (1 − σ(z)) over impostors, half and half."""
    torch.manual_seed(0)
    network = networks.create("comparison", size=16, widths=(4, 6), dim=5).double()
    features = torch.randn(9, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])
    value, right = AllPairs(network.compare)(features, labels)
    losses, rights = {True: [], False: []}, {True: [], False: []}
    for i, j in itertools.combinations(range(9), 2):
        same = bool(labels[i] == labels[j])
        p = torch.sigmoid(network.comparison((features[i] - features[j]).abs()))[0]
        losses[same].append(-torch.log(p if same else 1 - p))
        rights[same].append(float((p > 0.5) == same))
    slow = sum(torch.stack(losses[same]).mean() for same in (True, False)) / 2
    assert value.item() == pytest.approx(slow.item(), abs=1e-12)
    assert right.item() == pytest.approx(np.mean([np.mean(rights[same]) for same in (True, False)]))
    learned = [features, *network.comparison.parameters()]
    for a, b in zip(torch.autograd.grad(value, learned), torch.autograd.grad(slow, learned), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-12)


def flat(gradients):
    return torch.cat([one.flatten() for one in gradients])


def test_pictures_embedded_once_teach_what_all_pairs_of_them_teach():
    """VGG16 with a learned comparison: features computed once a picture, against every pair through both sides."""
    torch.manual_seed(0)
    network = networks.create("comparison", trunk="vgg16", size=32, widths=(2, 3, 4, 4, 5)).double()
    x = torch.randn(8, 1, 32, 32, dtype=torch.float64)
    labels = torch.arange(8) // 2
    network(x, x.flip(0))  # batch normalisation has seen a batch, and then stays as it is: pairs are no other batch
    network.eval()
    moved, loss = objective(network)
    value, _ = loss(moved(x), labels)
    gradient = flat(torch.autograd.grad(value, list(network.parameters())))
    first, second = torch.triu_indices(8, 8, 1)
    genuine = (labels[first] == labels[second]).double()
    each = torch.nn.functional.binary_cross_entropy_with_logits(network(x[first], x[second]), genuine, reduction="none")
    assert genuine.sum() == 4  # of 28 pairs, and half of the weight
    pairwise = (each * (genuine / 4 + (1 - genuine) / 24)).sum() / 2
    slow = flat(torch.autograd.grad(pairwise, list(network.parameters())))
    assert value.item() == pytest.approx(pairwise.item(), abs=1e-12)
    assert torch.allclose(gradient, slow, rtol=0, atol=1e-10) and slow.abs().max() > 1e-2


def test_the_comparison_is_computed_in_the_precision_of_the_training():
    torch.manual_seed(0)
    network = networks.create("comparison", size=16, widths=(4, 6), dim=32)
    seen = []
    network.comparison[0].register_forward_hook(lambda layer, given, out: seen.append(out.dtype))
    labels = torch.arange(12) // 3
    features = (3 * torch.randn(4, 32)[labels] + torch.randn(12, 32)).requires_grad_()
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        value, _ = objective(network, dtype)[1](features, labels)
        found.append((value, flat(torch.autograd.grad(value, [features, *network.comparison.parameters()]))))
    (exact, gradient), (value, rounded) = found
    assert seen == [torch.float32, torch.bfloat16] and value.dtype == rounded.dtype == torch.float32
    assert 0 < abs(value - exact) < 0.01 * exact
    assert (rounded - gradient).norm() < 0.02 * gradient.norm()


@pytest.mark.parametrize("name", networks.NAMES)
def test_who_sees_one_picture_learns_from_all_pairs(name):
    network = networks.create(name)
    moved, loss = objective(network)
    expected = (OneSide, AllPairs) if name in ("comparison", "siamese") else (BothSides, DrawnPairs)
    assert (type(moved), type(loss)) == expected
    assert set(map(id, moved.parameters())) == set(map(id, network.parameters())) and not list(loss.parameters())


@pytest.mark.parametrize(("classes", "batch"), [(6, (6, 21)), (40, (32, 4))])
def test_a_batch_of_few_classes_is_as_large(tmp_path, classes, batch):
    recipe = PairRecipe(net="comparison", size=12, validation=0)
    run = pair_loop.PairRun(made_up(classes=classes, n=480), tmp_path, recipe, print)
    run.make(None)
    indices = next(run.batches.sampler.epoch(0))
    labels, counts = np.unique(run.train.labels[indices], return_counts=True)
    assert (len(labels), set(counts.tolist())) == (batch[0], {batch[1]})


def test_two_scores_are_weighed_by_which_hit_stands_above():
    """The weights that made the outcomes, whatever is added to all scores of a query."""
    random = np.random.default_rng(0)
    queries = random.normal(0, 5, (100_000, 1))
    s, z = random.normal(0.3, 0.2, (100_000, 2)), random.normal(0, 4, (100_000, 2)) + queries
    odds = 6 * (s[:, 0] - s[:, 1]) + 0.25 * (z[:, 0] - z[:, 1])
    swap = random.random(len(odds)) > 1 / (1 + np.exp(-odds))
    s[swap], z[swap] = s[swap, ::-1], z[swap, ::-1]  # the one that won is the genuine one
    found = fit("abc", s, z)
    assert found.weight == pytest.approx(0.25 / 6, rel=0.05)
    np.testing.assert_allclose(found(s[:, 0], z[:, 0]), s[:, 0] + found.weight * z[:, 0])
    assert fit("abc", s, -z).weight == fit("abc", s, 0 * z).weight == 0
    assert fit("abc", -s, z) is None
    assert Together.from_json(dataclasses.asdict(found)) == found


def test_a_network_that_cannot_be_told_from_noise_has_no_weight():
    """Of noise about one network in forty passes; of one that knows something, all do."""
    passed = {0.0: 0, 0.5: 0}
    for seed in range(100):
        random = np.random.default_rng(seed)
        s = random.normal((0.6, 0.4), 0.2, (300, 2))
        for knows in passed:
            passed[knows] += fit("abc", s, random.normal((knows, 0), 1, (300, 2))).weight > 0
    assert passed[0.0] <= 8 and passed[0.5] >= 98


def test_both_scores_fit_better_than_any_other_weight():
    """By the log likelihood, written out."""
    random = np.random.default_rng(1)
    s, z = random.normal((0.6, 0.4), 0.2, (5000, 2)), random.normal((1, 0), 2, (5000, 2))
    found = fit("abc", s, z)

    def loss(weight):
        above = (s + weight * z)[:, 0] - (s + weight * z)[:, 1]
        return min(np.log1p(np.exp(-scale * above)).mean() for scale in np.geomspace(0.1, 50, 400))

    assert all(loss(found.weight) <= loss(found.weight * times) for times in (0.5, 0.8, 1.25, 2))


@pytest.mark.parametrize(
    "change", [{"weight": -1.0}, {"weight": math.nan}, {"weight": math.inf}, {"weight": "1"}, {"encoder": 3}]
)
def test_hostile_weights_are_refused(change):
    values = {"encoder": "abc", "weight": 2}
    assert Together.from_json(values).weight == 2
    with pytest.raises((ValueError, TypeError)):
        Together.from_json(values | change)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A saved encoder that has learned nothing, but confuses only what looks alike."""
    from retrieval.networks import create

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = create("seed", dim=16, channels=1, size=12)
    config = EncoderConfig("seed", {"dim": 16, "channels": 1, "size": 12}, 16, network.preprocessing)
    folder = tmp_path_factory.mktemp("hits") / "encoder"
    Encoder.of(network, config, threads=1).save(folder)
    return folder


def test_pictures_are_asked_for_a_right_and_a_wrong_hit(encoder, monkeypatch):
    monkeypatch.setattr("retrieval.training.pairs.encoder_hits.TOP", 30)
    train, others = made_up(n=120, noise=90), made_up(n=60, noise=95, seed=0)
    hits = Hits(str(encoder), train, others, seed=0)
    rows, drawn, similarities = hits.ask(40)
    assert 20 < len(rows) == len(set(rows.tolist())) <= 40 and rows.min() >= 120
    p = hits.encoder.config.preprocessing
    vectors = hits.encoder.encode(np.concatenate([train.read(p), others.read(p)])).astype(np.float64)
    labels = np.concatenate([train.labels, others.labels])
    for row, pair, said in zip(rows.tolist(), drawn.tolist(), similarities.tolist(), strict=True):
        first = [hit for hit in np.argsort(-(vectors @ vectors[row])).tolist() if hit != row][:30]
        assert set(pair) <= set(first)
        assert [labels[hit] == labels[row] for hit in pair] == [True, False]
        assert said == pytest.approx([float(vectors[hit] @ vectors[row]) for hit in pair], abs=1e-6)
    alone = dataclasses.replace(others, labels=np.arange(6, 66), classes=tuple(map(str, range(66))))
    assert Hits(str(encoder), train, alone, seed=0).ask(40) is None


def test_positions_count_through_both_sets():
    first, second, p = made_up(n=12), made_up(n=18, seed=1), Preprocessing(12, "L")
    read = pair_loop._reader(Source(first, p), Source(second, p))
    rows = np.array([3, 12, 29, 3, 0])
    np.testing.assert_array_equal(read(rows), np.concatenate([first.pixels, second.pixels])[rows])


def test_without_held_out_pictures_the_network_is_alone(encoder, tmp_path):
    recipe = QUICK.replace(hits_of=str(encoder), validation=0, epochs=1)
    trained = train_pair(made_up(), tmp_path / "run", recipe)
    assert trained.measures == {} and len(trained.warnings) == 1 and "--validation" in trained.warnings[0]
    assert PairScorer.load(tmp_path / "run").config.together is None


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(QUICK.replace(epochs=2), id="all"),
        pytest.param(TWO_CHANNEL.replace(validation=60), id="drawn", marks=pytest.mark.long),
    ],
)
def test_a_training_on_hits_resumes_with_the_same_bits(encoder, tmp_path, monkeypatch, recipe):
    recipe = recipe.replace(hits_of=str(encoder))
    whole = train_pair(made_up(noise=90), tmp_path / "whole", recipe)
    assert {"EER", "EER of the encoder alone", "EER of both together"} <= set(whole.measures)
    config = PairScorer.load(tmp_path / "whole").config
    assert config.together is not None and config.together.encoder == Encoder.load(encoder).hash
    step, steps = Engine.step, itertools.count(1)

    def interrupted(self, *args):
        measured = step(self, *args)
        if next(steps) == 3:
            signal.raise_signal(signal.SIGINT)
        return measured

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Engine, "step", interrupted)
        train_pair(made_up(noise=90), tmp_path / "parts", recipe)
    with monkeypatch.context() as patch, pytest.raises(RetrievalError, match="hits of another encoder"):
        patch.setattr(EncoderConfig, "hash", lambda self, weights: "another")
        train_pair(made_up(noise=90), tmp_path / "parts", resume=True)
    parts = train_pair(made_up(noise=90), tmp_path / "parts", resume=True)
    assert digest(tmp_path / "whole" / "pair" / WEIGHTS) == digest(tmp_path / "parts" / "pair" / WEIGHTS)
    assert [r.loss for r in parts.history] == [r.loss for r in whole.history]
    assert PairScorer.load(tmp_path / "parts").config.together == config.together


def test_hits_are_of_pair_networks(encoder, tmp_path, capsys):
    command = ["train", "nowhere", "--out", str(tmp_path / "run"), "--hits-of", str(encoder)]
    assert main(command) == 1
    assert "--hits-of" in (error := capsys.readouterr().err) and "pair network" in error
    with pytest.raises(RetrievalError, match="no encoder"):
        train_pair(made_up(), tmp_path / "run", QUICK.replace(hits_of=str(tmp_path)))


class Darker:
    """Stands for a pair network: log odds by how dark a hit is."""

    preprocessing = Preprocessing(tiny.SIZE)

    def __init__(self, together):
        self.config = PairConfig("two-channel", {}, self.preprocessing, together=together)

    def logits(self, query, hits):
        return (2 - hits.mean(axis=(1, 2, 3)) / 64).astype(np.float32)

    def score(self, query, hits):
        return 1 / (1 + np.exp(-self.logits(query, hits)))


def test_the_encoders_score_counts_where_it_is_the_same_encoder(tmp_path, tmp_path_factory):
    root = tiny.folder(tmp_path / "pictures", each=6)
    out = build(root, tmp_path / "index", model=tiny.model(tmp_path_factory)).index
    with Index.open(out) as index:
        hash_ = index.encoder_hash
    together = Together(hash_, 0.5)
    (asked,) = ask(out, PairReranker(Darker(together), "darker", 8))
    expected = {}
    for hit in asked.hits:
        pixels = images.read(root / hit.path, Darker.preprocessing)
        expected[hit.path] = hit.score + 0.5 * float(Darker(None).logits(None, pixels[None])[0])
        if hit.reranked is not None:
            assert hit.reranked == pytest.approx(expected[hit.path], abs=1e-6)
    looked_at = [hit for hit in asked.hits if hit.reranked is not None]
    assert len(looked_at) == 8
    assert [hit.path for hit in looked_at] == sorted((h.path for h in looked_at), key=lambda p: -expected[p])
    other = dataclasses.replace(together, encoder="another")
    alone, foreign = (ask(out, PairReranker(Darker(t), "darker", 8)) for t in (None, other))
    assert [h.reranked for h in alone[0].hits] == [h.reranked for h in foreign[0].hits]
    assert [h.reranked for h in alone[0].hits] != [h.reranked for h in asked.hits]


def ask(index, reranker):
    with Search.open(index, reranker=reranker) as search:
        return search.query_ids([1], 11)


def test_old_configurations_have_no_weights():
    values = json.loads(json.dumps(dataclasses.asdict(Darker(None).config)))
    del values["together"]
    assert PairConfig.from_json(values).together is None
