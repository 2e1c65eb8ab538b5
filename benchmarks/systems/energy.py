"""The siamese network of Chopra, Hadsell and LeCun 2005 with its energy loss, on faces of people it has not seen."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from retrieval import datasets
from retrieval.losses import EnergyLoss
from retrieval.measures.pairs import Pairs
from retrieval.measures.verification import verify
from retrieval.sampling import ClassBatches
from retrieval.training.augmentation import augment
from systems.rows import Measure, Row, Size, command, need, values

SEED = 0
STEPS: dict[Size, int] = {"small": 60, "medium": 150, "full": 1500}
RATES = (0.05, 0.075, 0.1)


def energy(data: Path, out: Path, size: Size) -> Row:
    """Subjects 1–35 trained, all pairs of 36–40 tested."""
    started = time.perf_counter()
    faces = datasets.load(need(data, "att_faces.zip"))
    # 112×92 to 56×46 by the mean of 2×2 pixels; float32 (n, 1, 56, 46), about 0 ± 1
    pixels = faces.pixels[..., 0].reshape(-1, 56, 2, 46, 2).mean((2, 4), dtype=np.float32)
    x = torch.from_numpy(pixels)[:, None] / 127.5 - 1
    subjects = np.array([int(faces.classes[label][1:]) for label in faces.labels])
    known, new = np.flatnonzero(subjects <= 35), np.flatnonzero(subjects > 35)
    torch.manual_seed(SEED)
    network = energy_network()
    learn(network, x[known], subjects[known].astype(np.int64), STEPS[size])
    with torch.inference_mode():
        outputs = network.eval()(x[new]).double().numpy()
    first, second = np.triu_indices(len(new), 1)
    energies = np.abs(outputs[first] - outputs[second]).sum(1)
    classes = np.stack([subjects[new][first], subjects[new][second]], axis=1).astype(np.int32)
    genuine = classes[:, 0] == classes[:, 1]
    pairs = Pairs((-energies).astype(np.float32), genuine, classes, (int(genuine.sum()), int((~genuine).sum())))
    measured = verify(pairs, false_match_rates=RATES)
    ours = {name: values(measured[name]) for name in ("EER", "FPR at 95 % recall")}
    for rate in RATES:
        recall = measured[f"TPR at FPR {rate:g}"]
        ours[f"FR at FA {rate:.1%}"] = [1 - recall.value, 1 - recall.high, 1 - recall.low]
    return Row(
        "siamese, energy loss (Chopra, Hadsell, LeCun 2005)",
        f"AT&T faces at 56×46: subjects 1–35 trained, all {len(genuine):,} pairs of 36–40 tested; intervals "
        "over people",
        "FR 1.0 % at FA 5 %, 1.0 % at 7.5 %, 0.0 % at 10 %",
        ours,
        time.perf_counter() - started,
        command("energy", size),
    )


def energy_network() -> nn.Sequential:
    """C1 15@7×7, S2 2×2, C3 45@6×6, S4 4×3, C5 250@5×5, F6 50, as published, with batch normalisation and tanh; C3 sees
    all maps of S2. float32 (n, 1, 56, 46) → (n, 50)."""
    return nn.Sequential(
        *(nn.Conv2d(1, 15, 7), nn.BatchNorm2d(15), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(15, 45, 6), nn.BatchNorm2d(45), nn.Tanh(), nn.AvgPool2d((4, 3))),
        *(nn.Conv2d(45, 250, 5), nn.BatchNorm2d(250), nn.Tanh(), nn.Flatten()),
        nn.Linear(250, 50),
    )


def learn(network: nn.Module, x: torch.Tensor, labels: np.ndarray, steps: int) -> None:
    """All pairs of 16 subjects × 4 pictures a step, where genuine and impostor pairs weigh the same; each picture is
    shifted by up to two pixels."""
    sampler, loss = ClassBatches(labels, 16, 4, SEED), EnergyLoss(50, unit=False)
    optimizer = torch.optim.Adam(network.parameters(), 0.002)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.002, steps)
    batches = (indices for epoch in itertools.count() for indices in sampler.epoch(epoch))
    network.train()
    for step, indices in enumerate(itertools.islice(batches, steps)):
        outputs = network(augment(x[indices], ("shift",), torch.Generator().manual_seed(step)))
        value, _ = loss(outputs, torch.from_numpy(labels[indices]))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()


SYSTEMS: dict[str, Measure] = {"energy": energy}
