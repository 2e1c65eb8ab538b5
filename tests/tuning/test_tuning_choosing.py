"""What a tuning tries and what it takes: pure functions, on made-up tables."""

from __future__ import annotations

import itertools
import math
import random
import re

import pytest

from retrieval.base.units import parse_bytes, parse_seconds, show_bytes, show_seconds
from retrieval.errors import RetrievalError
from retrieval.tuning.candidates import FEWEST, PER_LIST, candidates, estimate_bytes, for_sample
from retrieval.tuning.choice import EXACT, MARGIN, Point, Wishes, choose, in_order, pareto, why_none
from retrieval.tuning.default import short_list
from retrieval.tuning.effort_ladder import ENOUGH, Glance, halfway, scan, worth_measuring
from retrieval.tuning.exploration import SAMPLE


def point(factory: str, recall: float, single: float, memory: int = 100, **parameters: int) -> Point:
    return Point(
        factory, parameters, recall, recall - 0.01, recall + 0.01, single, 1.5 / single, 10 * single, 0, memory
    )


EXACTLY = point(EXACT, 1.0, 100, 50)
TABLE = [
    EXACTLY,
    point("HNSW32,Flat", 0.90, 9000, 300, efSearch=16),
    point("HNSW32,Flat", 0.97, 5000, 300, efSearch=64),
    point("HNSW32,Flat", 0.999, 2000, 300, efSearch=256),
    point("IVF64,SQ8", 0.96, 6000, 120, nprobe=4),
    point("IVF64,SQ8", 0.995, 1500, 120, nprobe=16),
]


def chosen(points: list[Point], **wishes: float) -> tuple[str, float] | None:
    found = choose(points, Wishes(**wishes))  # type: ignore[arg-type]
    return None if found is None else (found.factory, found.recall)


def test_the_fastest_that_reaches_the_recall_is_taken() -> None:
    assert chosen(TABLE, recall=0.85) == ("HNSW32,Flat", 0.90)
    assert chosen(TABLE, recall=0.95) == ("IVF64,SQ8", 0.96)
    assert chosen(TABLE, recall=0.97) == ("HNSW32,Flat", 0.97)
    assert chosen(TABLE, recall=0.998) == ("HNSW32,Flat", 0.999)
    assert chosen(TABLE, recall=1.0) == (EXACT, 1.0)


def test_memory_is_a_limit() -> None:
    assert chosen(TABLE, recall=0.85, memory=299) == ("IVF64,SQ8", 0.96)
    assert chosen(TABLE, recall=0.998, memory=299) == (EXACT, 1.0)
    assert chosen(TABLE, recall=0.85, memory=120) == ("IVF64,SQ8", 0.96)  # reaching it is within it
    assert chosen(TABLE, recall=0.85, memory=49) is None


def test_within_a_latency_the_highest_recall_is_taken() -> None:
    assert chosen(TABLE, latency=1.0) == (EXACT, 1.0)
    assert chosen(TABLE, latency=1e-3) == ("HNSW32,Flat", 0.999)
    assert chosen(TABLE, latency=1e-3, memory=200) == ("IVF64,SQ8", 0.995)
    assert chosen(TABLE, latency=2e-4) == ("HNSW32,Flat", 0.90)
    assert chosen(TABLE, latency=1e-4) is None
    assert chosen(TABLE, latency=2.5e-4, recall=0.95) == ("IVF64,SQ8", 0.96)
    assert chosen(TABLE, latency=2e-4, recall=0.95) is None


def test_exact_search_wins_when_it_is_about_as_fast() -> None:
    for faster, expected in ((MARGIN * 0.99, EXACT), (MARGIN * 1.01, "HNSW32,Flat")):
        assert chosen([EXACTLY, point("HNSW32,Flat", 0.99, 100 * faster)], recall=0.95) == (
            expected,
            1.0 if expected == EXACT else 0.99,
        )
    # One that missed nothing may have been lucky in its queries; exact search cannot be.
    assert chosen([point("HNSW32,Flat", 1.0, 5000), EXACTLY], latency=1.0) == (EXACT, 1.0)
    assert chosen([point("HNSW32,Flat", 1.0, 5000), EXACTLY], latency=1e-3) == ("HNSW32,Flat", 1.0)


@pytest.mark.parametrize("wishes", [Wishes(recall=0.9), Wishes(latency=1.0), Wishes(recall=0.9, latency=1.0)])
def test_equal_measurements_are_chosen_alike_in_any_order(wishes: Wishes) -> None:
    table = [
        point("B", 0.95, 1000, 100, efSearch=32),
        point("A", 0.95, 1000, 200, efSearch=32),
        point("A", 0.95, 1000, 100, efSearch=64),
        point("A", 0.95, 1000, 100, efSearch=32),
    ]
    answers = [choose(order, wishes) for order in itertools.permutations(table)]
    assert all(answer == table[-1] for answer in answers)
    assert [p.memory for p in in_order(table, wishes)] == [100, 100, 100, 200]


def test_the_choice_is_never_beaten_by_what_was_asked_for() -> None:
    generator = random.Random(0)
    for _ in range(300):
        table = [EXACTLY] + [
            point(f"S{n}", generator.choice([0.8, 0.9, 0.95, 0.99, 1.0]), generator.uniform(50, 5000),
                  generator.randint(50, 400))
            for n in range(generator.randint(0, 12))
        ]  # fmt: skip
        wishes = Wishes(
            generator.choice([None, 0.85, 0.95, 1.0]),
            generator.choice([None, 40, 60, 200]),
            generator.choice([None, 1e-4, 1e-3, 1e-1]),
        )
        taken = choose(table, wishes)
        allowed = [p for p in table if wishes.met_by(p)]
        assert (taken is None) == (not allowed)
        if taken is None:
            continue
        assert taken in allowed
        if wishes.latency is not None:
            assert taken.recall == max(p.recall for p in allowed)
        elif taken.factory == EXACT:
            assert all(p.single < MARGIN * taken.single for p in allowed)
        else:
            assert taken.single == max(p.single for p in allowed)


def test_the_pareto_front_is_what_nothing_beats() -> None:
    generator = random.Random(1)
    for memory in (True, False):
        table = [
            point(f"S{n}", generator.randint(1, 6) / 6, generator.randint(1, 6), generator.randint(1, 6))
            for n in range(60)
        ]
        front = pareto(table, memory=memory)

        def as_good(a: Point, b: Point, memory: bool = memory) -> list[bool]:
            return [a.recall >= b.recall, a.single >= b.single, *([a.memory <= b.memory] if memory else [])]

        for p in table:
            beaten = any(all(as_good(other, p)) and not all(as_good(p, other)) for other in table)
            assert (p in front) == (not beaten)
        assert front == sorted(front, key=lambda p: (-p.recall, -p.single, p.memory, p.factory))
    assert pareto([]) == []
    assert pareto(TABLE, memory=False) == [TABLE[0], TABLE[3], TABLE[2], TABLE[4], TABLE[1]]
    assert set(map(id, pareto(TABLE))) == set(map(id, TABLE))  # the sixth is slower but smaller


def test_what_cannot_be_had_is_said_in_one_sentence() -> None:
    sentence = why_none(TABLE, Wishes(recall=0.998, memory=130, latency=1e-3), 10)
    assert sentence.count(". ") == 0 and sentence.endswith(".")
    assert "recall@10 of 0.998 and 1 ms a query and 130 bytes of memory at once" in sentence
    assert "recall reaches 0.9950 (IVF64,SQ8)" in sentence
    assert "15 ms at least (exact)" in sentence
    assert "300 bytes at least (HNSW32,Flat)" in sentence
    alone = why_none(TABLE, Wishes(latency=1e-5), 10)
    assert "at once" not in alone and "a query takes 167 µs at least (HNSW32,Flat)" in alone


def test_halfway_lies_between_and_comes_to_an_end() -> None:
    low, high = {"nprobe": 1, "candidates": 2}, {"nprobe": 512, "candidates": 16}
    steps = 0
    while (middle := halfway(low, high)) not in (low, high):
        assert all(low[name] <= middle[name] <= high[name] for name in low)
        high = middle
        steps += 1
    assert steps == 3  # 512, 23, 5, 2


LADDER = [{"nprobe": probe, "candidates": times} for probe in (1, 2, 4, 8, 16, 32) for times in (1, 2, 4, 8)]


def seen(recall, single, slowest: float = 0.0) -> tuple[list[Glance], list[tuple[int, int]]]:
    """What is looked at where a setting's recall and speed are these functions of it."""
    looks = scan(LADDER, lambda p: Glance(p, recall(*p.values()), single(*p.values())), slowest)
    return looks, [(glance.parameters["nprobe"], glance.parameters["candidates"]) for glance in looks]


def test_settings_are_tried_until_nothing_is_gained() -> None:
    _, all_ = seen(lambda probe, times: (probe + times) / 50, lambda *_: 1.0)
    assert all_ == [tuple(p.values()) for p in LADDER]
    _, helped_by_probes = seen(lambda probe, times: probe / 40, lambda *_: 1.0)
    assert helped_by_probes == [(probe, times) for probe in (1, 2, 4, 8, 16, 32) for times in (1, 2)]
    _, enough = seen(lambda probe, times: ENOUGH if (probe, times) == (2, 2) else 0.1 * times, lambda *_: 1.0)
    assert enough[-1] == (2, 2) and len(enough) == 6
    # as soon as the least effort of one step is too slow, all that follows is
    _, fast = seen(lambda probe, times: 1 - 1 / (probe + times), lambda probe, times: 100 / (probe * times), 20.0)
    assert fast == [(1, 1), (1, 2), (1, 4), (1, 8), (2, 1), (2, 2), (2, 4), (4, 1), (4, 2), (8, 1)]


def test_settings_that_are_measured_are_the_front_thinned_out() -> None:
    generator = random.Random(2)
    glances = [Glance({"nprobe": n}, generator.uniform(0.3, 1), generator.uniform(1, 100)) for n in range(200)]
    chosen = [glances[parameters["nprobe"]] for parameters in worth_measuring(glances)]
    assert 2 < len(chosen) < 30
    for one, other in itertools.pairwise(chosen):
        assert other.single < one.single and 1 - other.recall <= 0.85 * (1 - one.recall)
    for glance in chosen:
        assert glance.recall >= 0.5
        assert not any(other.recall >= glance.recall and other.single > glance.single for other in glances)
    assert worth_measuring([Glance({"nprobe": 1}, 0.1, 5.0), Glance({"nprobe": 2}, 0.2, 4.0)]) == [{"nprobe": 2}]


# Candidates

SIZES = [1, 2, 19, 999, 1000, 1001, 1600, 5000, 60_000, 10**6, 10**7]
DIMS = [
    1,
    2,
    3,
    7,
    8,
    15,
    16,
    17,
    31,
    63,
    64,
    65,
    96,
    100,
    127,
    128,
    129,
    384,
    511,
    512,
    768,
    784,
    1000,
    1024,
    2047,
    2048,
]


@pytest.mark.parametrize("d", DIMS)
def test_candidates_are_sane_for_any_size(d: int) -> None:
    for n in SIZES:
        found = candidates(n, d)
        names = [candidate.factory for candidate in found]
        assert len(set(names)) == len(names) <= 40
        assert bool(names) == (n >= FEWEST)
        for name in [*names, *short_list(n, d)]:
            for sized, m in ((name, n), (for_sample(name, SAMPLE), SAMPLE)):
                sane(sized, m, d)
        if n >= FEWEST:
            assert any("HNSW" in name for name in names) and any("SQ" in name for name in names)
    if d >= 128:
        assert any(name.startswith("PCA") for name in names)


def sane(factory: str, n: int, d: int) -> None:
    projected = re.match(r"PCA(\d+),", factory)
    if projected:
        assert int(projected[1]) <= d // 2 and n >= 2 * int(projected[1])
        d = int(projected[1])
    if few := re.fullmatch(r"Lists\d+x(\d+)", factory):
        assert int(few[1]) <= min(d // 2, 128) and int(few[1]) % 16 == 0
    if lists := re.search(r"(?:IVF|Lists)(\d+)", factory):
        assert int(lists[1]) >= 1 and PER_LIST * int(lists[1]) <= n
    if quantizer := re.search(r"PQ(\d+)x4fs", factory):
        assert int(quantizer[1]) >= 1 and d % int(quantizer[1]) == 0
    assert not factory.startswith("NSG")  # whose building need not end


def test_building_more_never_seems_cheaper() -> None:
    growth = {candidate.factory: candidate.growth for candidate in candidates(10**5, 256)}
    assert all(0 < power < 2 for power in growth.values())
    assert growth["HNSW32,Flat"] > growth["SQ8"] > growth["PQ128x4fs"]


def test_less_is_estimated_for_what_is_smaller() -> None:
    def size(factory: str) -> int:
        return estimate_bytes(factory, 10_000, 128)

    assert size("HNSW32,Flat") > size("HNSW32_SQfp16") > size("HNSW32_SQ8") > size("HNSW16_SQ8")
    assert size("HNSW16_SQ8") > size("PCA64,HNSW16_SQ8") > size("PCA32,HNSW16_SQ8")
    assert size("IVF64,Flat") > size("IVF64,SQ8") > size("IVF64,PQ64x4fs") > size("BFlat")
    assert size("SymphonyQG32") > size("HNSW32,Flat")
    assert size("SQfp16") == 2 * 128 * 10_000 and size("BFlat") == 16 * 10_000 + 4 * 128 * 128
    assert estimate_bytes("HNSW32,Flat", 20_000, 128) == 2 * size("HNSW32,Flat")


@pytest.mark.parametrize("n", [1000, 60_000, 10**6, 10**7])
@pytest.mark.parametrize("d", [4, 128, 1024])
def test_the_short_list_needs_nothing_but_faiss(n: int, d: int) -> None:
    assert 1 < len(short_list(n, d)) < 6
    assert not any("Symphony" in name for name in short_list(n, d))
    assert short_list(FEWEST - 1, d) == []


# Sizes and times


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("200MB", 200_000_000),
        ("1.5 GiB", 1_610_612_736),
        ("1000", 1000),
        (" 3kb ", 3000),
        ("2g", 2 * 10**9),
        (".5M", 500_000),
    ],
)
def test_sizes(text: str, value: int) -> None:
    assert parse_bytes(text) == value


@pytest.mark.parametrize(
    ("text", "value"), [("5ms", 0.005), ("0.2 s", 0.2), ("300us", 3e-4), ("40µs", 4e-5), ("1.S", 1.0)]
)
def test_times(text: str, value: float) -> None:
    assert parse_seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "MB", "-5MB", "0", "5 apples", "1e3", "５MB", "nan", "inf", "5MBs", "1" * 400])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(RetrievalError, match=r"is no size; give a number and a unit, such as 200MB"):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["", "5", "5 m", "ms", "-1ms", "0ms", "1h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(RetrievalError, match=r"is no time; give a number and a unit, such as 5ms"):
        parse_seconds(text)


def test_sizes_and_times_are_shown_as_a_person_would() -> None:
    sizes = [0, 999, 1000, 24_610_000, 99_940_000, 999_400_000, 999_600_000, 5_120_000_000]
    assert [show_bytes(size) for size in sizes] == [
        "0 bytes", "999 bytes", "1.0 kB", "24.6 MB", "99.9 MB", "999 MB", "1.0 GB", "5.1 GB"
    ]  # fmt: skip
    times = [2.5e-5, 4.3e-4, 0.0123, 0.9994, 1.5, 250.0]
    assert [show_seconds(time) for time in times] == ["25 µs", "430 µs", "12.3 ms", "999 ms", "1.5 s", "250 s"]
    for size in (10**n for n in range(1, 13)):
        assert math.isclose(parse_bytes(show_bytes(size).replace(" bytes", "")), size, rel_tol=0.01)
