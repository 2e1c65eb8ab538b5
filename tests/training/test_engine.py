"""The engine: chunks, accumulation, averaging, precision and schedules against the plain way of computing each."""

import dataclasses
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training import QUICK, made_up, same, weights
from torch import nn
from torch.nn import functional as F

from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing
from retrieval.training import engine as engines
from retrieval.training import loop, losses
from retrieval.training.engine import Average
from retrieval.training.hardware import choose_precision
from retrieval.training.loop import train
from retrieval.training.losses import contrastive
from retrieval.training.processes import World
from retrieval.training.recipe import Recipe
from retrieval.training.training_set import Batch

pytestmark = pytest.mark.usefixtures("lean")

PLAIN = Recipe(augment="flip", precision="float32", lr=0.1, loss="supcon", seed=3)
CPU = torch.device("cpu")


def network(*extra, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 3), *extra, nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 6))


def engine(recipe, *extra, dtype=torch.float32):
    recipe = recipe.resolve(channels=3, pretrained=False)
    loss = losses.create(recipe, 6, 4)
    return engines.Engine(network(*extra), loss, recipe, Preprocessing(size=12), CPU, dtype, World())


def batch(n=22, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (n, 12, 12, 3), generator=generator, dtype=torch.uint8)
    return Batch(pixels, torch.arange(n) % 4, torch.arange(n) % 3 == 0)


def gradients(of):
    return {name: p.grad.clone() for name, p in of.modules.named_parameters() if p.grad is not None}


def assert_close(a, b, tolerance=1e-5):
    assert a.keys() == b.keys() and len(a) >= 4
    assert any(float(value.abs().max()) > 100 * tolerance for value in a.values())
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=tolerance, msg=name)


@pytest.mark.kernels
@pytest.mark.parametrize("loss", ["supcon", "softmax", "triplet"])
@pytest.mark.parametrize("chunk", [2, 7, 21])
def test_chunks_have_the_loss_and_the_gradient_of_the_whole_batch(loss, chunk):
    whole, parts = engine(PLAIN.replace(loss=loss)), engine(PLAIN.replace(loss=loss, chunk=chunk))
    sizes = []
    parts.network.register_forward_hook(lambda module, args, out: sizes.append(len(args[0])))
    a, b = whole.step(0, [batch()], 0.1), parts.step(0, [batch()], 0.1)
    assert max(sizes) <= chunk and sum(sizes) == 2 * 22
    np.testing.assert_allclose(a, b, atol=1e-5)
    assert_close(gradients(whole), gradients(parts))


@pytest.mark.kernels
def test_a_chunk_as_large_as_the_batch_changes_no_bit():
    whole, one = engine(PLAIN), engine(PLAIN.replace(chunk=22))
    np.testing.assert_equal(tuple(whole.step(0, [batch()], 0.1)), tuple(one.step(0, [batch()], 0.1)))
    assert same(whole.state(), one.state())


class Recorded(nn.Dropout):
    """Dropout that keeps what it drew."""

    def forward(self, x):
        self.__dict__.setdefault("masks", []).append(super().forward(torch.ones_like(x)))
        return x * self.masks[-1]


@pytest.mark.kernels
def test_dropout_draws_the_same_in_both_passes_over_a_chunk():
    """Against one graph over the whole batch with the masks that were drawn."""
    dropout = Recorded(0.5)
    parts = engine(PLAIN.replace(chunk=8), dropout)
    copy = network(dropout)
    measured = parts.step(5, [batch()], 0.0)
    first, second = dropout.masks[:3], dropout.masks[3:]
    assert len(second) == 3 and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0][:7], first[1][:7])
    seen = torch.cat(first)
    copy[1].forward = lambda x: x * seen
    dropout.eval()
    draws = torch.Generator().manual_seed(parts._seed(5, 0))
    x = engines.augment(parts._normalised(batch().pixels), ("flip",), draws, mirrored=batch().mirrored)
    loss = contrastive.supervised_contrastive_loss(F.normalize(copy(x)), batch().labels, 0.1)
    loss.backward()
    assert measured.loss == pytest.approx(loss.item(), abs=1e-5)
    assert_close(gradients(parts), {f"network.{name}": p.grad for name, p in copy.named_parameters()})


@pytest.mark.kernels
def test_batch_normalisation_notes_the_statistics_of_a_chunk_once():
    parts = engine(PLAIN.replace(chunk=11, augment="none"), nn.BatchNorm2d(8))
    parts.step(0, [batch()], 0.0)
    expected = network(nn.BatchNorm2d(8))
    for chunk in parts._normalised(batch().pixels).split(11):
        expected(chunk)
    assert int(parts.network[1].num_batches_tracked) == 2
    torch.testing.assert_close(parts.network[1].running_var, expected[1].running_var)
    torch.testing.assert_close(parts.network[1].running_mean, expected[1].running_mean)


@pytest.mark.kernels
def test_accumulated_batches_have_the_mean_of_their_gradients():
    one, two, both = engine(PLAIN.replace(augment="none")), engine(PLAIN.replace(augment="none")), engine(
        PLAIN.replace(augment="none", chunk=5))  # fmt: skip
    a, b = one.step(0, [batch(seed=1)], 0.1), two.step(0, [batch(seed=2)], 0.1)
    together = both.step(0, [batch(seed=1), batch(seed=2)], 0.1)
    np.testing.assert_allclose(np.mean([a, b], axis=0), together, atol=1e-5)
    mean = {name: (value + gradients(two)[name]) / 2 for name, value in gradients(one).items()}
    assert_close(mean, gradients(both))


def test_an_accumulated_epoch_takes_all_batches(tmp_path):
    """8 batches an epoch, 3 a step: the last step has two."""
    trained = train(made_up(n=280, classes=4), tmp_path / "run", QUICK.replace(accumulate=3, epochs=2))
    assert [r.epoch for r in trained.history] == [0] * 3 + [1] * 3
    assert not math.isnan(trained.history[2].precision_at_1)


@pytest.mark.kernels
def test_the_average_of_the_weights_is_without_bias():
    """Against the definition, in float64."""
    run, beta, seen = engine(PLAIN.replace(average=0.8), nn.BatchNorm2d(8)), 0.8, []
    for step in range(6):
        run.step(step, [batch(seed=step)], 0.1)
        seen.append({name: tensor.double().clone() for name, tensor in run.modules.state_dict().items()})
    last = {name: tensor.clone() for name, tensor in run.modules.state_dict().items()}
    with run.averaged():
        averaged = {name: tensor.clone() for name, tensor in run.modules.state_dict().items()}
    assert same(last, run.modules.state_dict())
    share = [beta ** (5 - i) * (1 - beta) / (1 - beta**6) for i in range(6)]
    assert sum(share) == pytest.approx(1)
    for name in last:
        if "num_batches" not in name:
            expected = sum(w * state[name] for w, state in zip(share, seen, strict=True))
            torch.testing.assert_close(averaged[name].double(), expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(last["network.1.running_var"], averaged["network.1.running_var"])


@pytest.mark.kernels
def test_the_averaged_weights_are_validated_and_saved(tmp_path, monkeypatch):
    """With the weights of the first step kept for good, the saved encoder is that of the first step."""
    seen = []
    update = Average.update

    def first_only(self, step):
        if step == 1:
            update(self, step)
            seen.append({name.removeprefix("network."): t.clone() for name, t in self.tensors.items()})

    pictures = made_up(noise=90)  # of which the first step knows little
    plain = train(pictures, tmp_path / "plain", QUICK)
    monkeypatch.setattr(Average, "update", first_only)
    averaged = train(pictures, tmp_path / "run", QUICK.replace(average=0.9))
    saved = weights(tmp_path / "run")
    assert all(torch.equal(saved[name], tensor) for name, tensor in seen[0].items()) and len(seen[0]) > 4
    assert [r.loss for r in averaged.history] == [r.loss for r in plain.history]
    quality = [r.precision_at_1 for r in averaged.history if not math.isnan(r.precision_at_1)]
    assert len(set(quality)) == 1 and quality[0] < plain.precision_at_1


@pytest.mark.kernels
def test_averaged_training_learns(tmp_path):
    assert train(made_up(), tmp_path / "run", QUICK.replace(average=0.8)).precision_at_1 > 0.8


EVERYTHING = QUICK.replace(
    widths="8",
    epochs=2,
    accumulate=2,
    chunk=16,
    average=0.9,
    optimizer="adamw",
    schedule="cosine",
    precision="float16",
)


@pytest.mark.parametrize(
    "recipe",
    [EVERYTHING, EVERYTHING.replace(loss="softmax", optimizer="sgd", precision="bfloat16", chunk=None)],
    ids=["float16", "bfloat16"],
)
def test_resuming_gives_the_same_bits_with_everything_on(tmp_path, monkeypatch, recipe):
    try:
        choose_precision(recipe.precision, CPU)
    except RetrievalError as refused:
        pytest.skip(str(refused))
    whole = train(made_up(n=80), tmp_path / "whole", recipe)
    learn = engines.Engine._learn

    def interrupted(self, place, batch, share):
        if place == (2, 1):
            signal.raise_signal(signal.SIGINT)
        return learn(self, place, batch, share)

    monkeypatch.setattr(engines.Engine, "_learn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(made_up(n=80), tmp_path / "parts", recipe)
    monkeypatch.undo()
    parts = train(made_up(n=80), tmp_path / "parts", resume=True)
    assert len(parts.history) == len(whole.history) == 4
    a, b = ([dataclasses.astuple(dataclasses.replace(r, seconds=0)) for r in t.history] for t in (whole, parts))
    np.testing.assert_equal(a, b)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    if recipe.loss == "softmax":
        heads = [(tmp_path / name / loop.CLASSIFIER).read_bytes() for name in ("whole", "parts")]
        assert heads[0] == heads[1]


@pytest.mark.kernels
def test_float16_scales_its_loss_and_leaves_out_a_step_that_overflows():
    try:
        choose_precision("float16", CPU)
    except RetrievalError as refused:
        pytest.skip(str(refused))
    half, exact = engine(PLAIN, dtype=torch.float16), engine(PLAIN)
    half.scaler.load_state_dict(half.scaler.state_dict() | {"scale": 2.0**40})
    before = {name: tensor.clone() for name, tensor in half.modules.state_dict().items()}
    half.step(0, [batch()], 0.1)
    assert same(before, half.modules.state_dict()) and half.scaler.get_scale() == 2.0**39
    half.scaler.load_state_dict(half.scaler.state_dict() | {"scale": 2.0**10})
    a, b = half.step(0, [batch()], 0.1), exact.step(0, [batch()], 0.1)
    assert a.loss == pytest.approx(b.loss, rel=0.01)
    assert_close(half.modules.state_dict(), exact.modules.state_dict(), 2e-3)


def test_float16_is_refused_where_the_processor_lacks_it(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_fp16_supported", lambda: False)
    with pytest.raises(RetrievalError, match="--precision bfloat16 or float32"):
        choose_precision("float16", CPU)


def test_auto_is_bfloat16_where_the_processor_has_instructions_for_it():
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        pytest.skip("what the processor can do is not said here")
    held = any(name in os.environ for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"))
    fast = bool({"amx_bf16", "avx512_bf16"} & flags) and not held
    assert choose_precision("auto", CPU) == (torch.bfloat16 if fast else torch.float32)


def test_the_cosine_rises_to_its_peak_and_falls_to_nothing():
    recipe = Recipe(lr=0.5, warmup=0.2, schedule="cosine")
    rates = [recipe.rate(step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.05) and rates[20] == pytest.approx(0.5) and rates[100] == pytest.approx(0)
    assert rates[60] == pytest.approx(0.25) and rates[40] == pytest.approx(0.25 * (1 + math.sqrt(0.5)))
    assert rates[:21] == sorted(rates[:21]) and rates[20:] == sorted(rates[20:], reverse=True)
    assert Recipe(lr=0.5, warmup=0.0, schedule="cosine").rate(0, 10) == 0.5


@pytest.mark.kernels
def test_adamw_takes_the_step_of_its_definition():
    """Loshchilov and Hutter 2019, algorithm 2, first step: a decay, and lr · m̂/(√v̂ + ε) = lr · sign of the gradient."""
    run = engine(PLAIN.replace(optimizer="adamw", weight_decay=0.1))
    before = {name: p.detach().clone() for name, p in run.modules.named_parameters()}
    run.step(0, [batch()], 0.01)
    for name, p in run.modules.named_parameters():
        decay = 0.1 if p.ndim > 1 else 0.0
        expected = before[name] * (1 - 0.01 * decay) - 0.01 * p.grad / (p.grad.abs() + 1e-8)
        torch.testing.assert_close(p.detach(), expected, rtol=0, atol=1e-5)


@pytest.mark.kernels
def test_biases_and_normalisation_learn_at_a_rate_of_their_own():
    run = engine(PLAIN.replace(momentum=0.0, weight_decay=0.1, bias_rate=16.0))
    before = {name: p.detach().clone() for name, p in run.modules.named_parameters()}
    run.step(0, [batch()], 0.01)
    assert {p.ndim > 1 for p in run.modules.parameters()} == {True, False}
    for name, p in run.modules.named_parameters():
        rate, decay = (0.01, 0.1) if p.ndim > 1 else (0.16, 0.0)
        expected = before[name] - rate * (p.grad + decay * before[name])
        torch.testing.assert_close(p.detach(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("pretrained", "rate"), [(False, 0.001), (True, 0.00005)])
def test_adamw_has_learning_rates_of_its_own(pretrained, rate):
    assert Recipe(optimizer="adamw").resolve(channels=3, pretrained=pretrained).lr == rate


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"chunk": 1}, "--chunk must be at least 2, not 1"),
        ({"accumulate": 0}, "--accumulate must be at least 1, not 0"),
        ({"average": 1.0}, "--average must be less than 1, not 1.0"),
        ({"average": -0.5}, "--average must be at least 0"),
        ({"momentum": 1.5}, "--momentum must be less than 1, not 1.5"),
        ({"optimizer": "adam"}, "sgd, adamw"),
        ({"schedule": "cosin"}, "triangle, cosine, constant"),
        ({"precision": "float8"}, "float16"),
    ],
)
def test_bad_choices_are_refused_by_name(change, named):
    with pytest.raises(RetrievalError, match=named):
        Recipe(**change)
