#!/usr/bin/env python3
"""What `retrieval serve` answers, on loopback, against the same calls in a loop in this process.

    python benchmarks/service.py items       stored items: queries a second, and p50, p95 and p99 at 1, 8 and 64 clients
    python benchmarks/service.py pictures    the same for pictures that are sent, each its own (EfficientNet-Lite0)
    python benchmarks/service.py memory      the memory of the service while it answers 50,000 queries
    python benchmarks/service.py writer      the same answers while a writer adds and removes, and is killed

The service is a process of its own. Its clients are connections of one more process, each of which asks again as soon
as it is answered, so that on few cores what they need is part of what is measured. Service and loop take turns of a few
seconds, and a ratio is of one turn each; what else the machine does then falls on both. Answers are compared, hit by
hit, with those of the loop. Tables are Markdown; --json for programs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import multiprocessing
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from command import options, show
from contest.data import clustered
from PIL import Image

from retrieval.index import Index, NewItem
from retrieval.ingest import build
from retrieval.search import Search

K = 10
CLIENTS = (1, 8, 64)


@contextlib.contextmanager
def service(index: Path) -> Iterator[tuple[int, int]]:
    """A service in a process of its own: its port and its process id."""
    command = [sys.executable, "-m", "retrieval", "serve", str(index), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline().rpartition(":")[2].strip("/\n")), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


async def _client(port: int, requests: Sequence[bytes], end: float, seconds: list[float], answers: list[bytes]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for request in requests:
            if time.perf_counter() > end:
                return
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            body = await reader.readexactly(int(length.partition(b":")[2]))
            seconds.append(time.perf_counter() - began)
            answers.append(body if head.startswith(b"HTTP/1.1 200") else b"")
    finally:
        writer.close()


def _ask(port: int, each: Sequence[Sequence[bytes]], length: float, out: Any) -> None:
    """In a process of its own: so many clients for a while."""
    seconds: list[float] = []
    answers: list[list[bytes]] = [[] for _ in each]
    began = time.perf_counter()

    async def all_of_them() -> None:
        end = time.perf_counter() + length
        await asyncio.gather(*(_client(port, own, end, seconds, kept) for own, kept in zip(each, answers, strict=True)))

    asyncio.run(all_of_them())
    out.send((seconds, answers, time.perf_counter() - began))


def asked(port: int, each: Sequence[Sequence[bytes]], length: float) -> tuple[list[float], list[list[bytes]], float]:
    """Seconds of each question, the answers of each client, and how long it took in all."""
    here, there = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_ask, args=(port, each, length, there))
    process.start()
    there.close()  # so that a process that ends without an answer is noticed
    found: tuple[list[float], list[list[bytes]], float] = here.recv()
    process.join()
    return found


def request(body: bytes, media: str) -> bytes:
    head = (
        f"POST /search?same=0&details=0&k={K} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {media}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def of_item(id_: int) -> bytes:
    return request(json.dumps({"like": [f"id:{id_}"]}).encode(), "application/json")


def of_picture(data: bytes) -> bytes:
    body = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n' + data + b"\r\n--B--\r\n"
    return request(body, "multipart/form-data; boundary=B")


def ids_of(body: bytes) -> list[int]:
    return [hit["id"] for hit in json.loads(body)["hits"]]


def figures(
    port: int, alone: Callable[[int], list[int]], asks: Sequence[bytes], args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Turns of the loop and of the service, by the number of clients.

    Args:
        port: of the service. alone: answers question i in this process. asks: the questions as requests.
    """
    rows = []
    order = np.random.default_rng(args.seed)
    for number in (1, 0):  # what is loaded when it is first needed is no part of a figure
        alone(number)
    asked(port, [asks[:2]], args.seconds)
    for clients in CLIENTS:
        loops, services, delays, wrong = [], [], [], 0
        for _ in range(args.rounds):
            places = order.permutation(len(asks))
            expected: dict[int, list[int]] = {}
            began = time.perf_counter()
            for place in places:
                expected[int(place)] = alone(int(place))
                if time.perf_counter() - began > args.seconds:
                    break
            loops.append(len(expected) / (time.perf_counter() - began))
            own = [places[start::clients] for start in range(clients)]
            seconds, answers, took = asked(port, [[asks[place] for place in some] for some in own], args.seconds)
            services.append(len(seconds) / took)
            delays += seconds
            for some, bodies in zip(own, answers, strict=True):
                for place, body in zip(some.tolist(), bodies, strict=False):
                    if not body or (place in expected and ids_of(body) != expected[place]):
                        wrong += 1
        ratios = np.sort(np.array(services) / np.array(loops))
        delays_ms = np.array(delays) * 1000
        rows.append(
            {
                "clients": clients,
                "loop_per_second": float(np.median(loops)), "per_second": float(np.median(services)),
                "ratio": float(np.median(ratios)), "ratio_least": float(ratios[0]), "ratio_most": float(ratios[-1]),
                "mean_ms": float(delays_ms.mean()),
                **{f"p{one}_ms": float(np.percentile(delays_ms, one)) for one in (50, 95, 99)},
                "answers": len(delays), "wrong": wrong,
            }
        )  # fmt: skip
    return rows


def items(folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Stored items of an index without an approximate structure."""
    index = vectors_index(folder, args.items, args.dim, args.seed)
    ids = np.random.default_rng(args.seed).integers(0, args.items, 20_000).tolist()
    with Search.open(index) as search, service(index) as (port, _):
        return figures(
            port,
            lambda place: [hit.id for hit in search.query_ids([ids[place]], K)[0]],
            [of_item(id_) for id_ in ids],
            args,
        )


def pictures(folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Pictures of 640×480 that nobody has asked with before."""
    rng = np.random.default_rng(args.seed)

    def picture() -> bytes:
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((640, 480), 3)
        content = io.BytesIO()
        coarse.save(content, "JPEG", quality=85)
        return content.getvalue()

    (folder / "photos").mkdir()
    for number in range(200):
        (folder / "photos" / f"{number}.jpg").write_bytes(picture())
    build(folder / "photos", folder / "index")
    sent = [picture() for _ in range(4000)]
    with Search.open(folder / "index") as search, service(folder / "index") as (port, _):
        return figures(
            port,
            lambda place: [hit.id for hit in search.query(sent[place], K)[0]],
            [of_picture(one) for one in sent],
            args,
        )


def memory(folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """What the service takes after each tenth of its requests."""
    index = vectors_index(folder, args.items, args.dim, args.seed)
    ids = np.random.default_rng(args.seed).integers(0, args.items, 5_000).tolist()
    rows = []
    with service(index) as (port, process):
        for tenth in range(11):
            if tenth:
                asked(port, [[of_item(id_) for id_ in ids[start::8]] for start in range(8)], 3600)
            status = Path(f"/proc/{process}/status").read_text()
            kilobytes = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
            files = len(list(Path(f"/proc/{process}/fd").iterdir()))
            rows.append({"requests": 5_000 * tenth, "memory_mb": kilobytes / 1024, "open_files": files})
    return rows


WRITER = """
import sys, numpy as np
from retrieval.index import Index, NewItem
number = 0
while True:
    with Index.open(sys.argv[1], write=True) as index:
        rows = np.random.default_rng(number).normal(size=(100, index.dim)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        ids = index.add(rows, [NewItem(f"w/{sys.argv[2]}/{number}/{one}", label="w") for one in range(len(rows))])
    with Index.open(sys.argv[1], write=True) as index:
        index.remove(ids.tolist())
        if number % 10 == 9:
            index.compact()
    number += 1
"""


def writer(folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Hits of what a writer never touches are the same all the while."""
    index = vectors_index(folder, args.items, args.dim, args.seed)
    ids = np.random.default_rng(args.seed).integers(0, args.items, 2_000).tolist()

    def question(id_: int) -> bytes:
        return request(json.dumps({"like": [f"id:{id_}"], "filter": 'label != "w"'}).encode(), "application/json")

    with Search.open(index) as search:
        expected = [[hit.id for hit in search.query_ids([id_], K, where='label != "w"')[0]] for id_ in ids]
    answered = wrong = kills = 0
    generations: set[int] = set()
    with service(index) as (port, _):
        for turn in range(args.rounds):
            process = subprocess.Popen([sys.executable, "-c", WRITER, str(index), str(turn)])
            own = [range(start, len(ids), 8) for start in range(8)]
            _, answers, _ = asked(port, [[question(ids[place]) for place in some] for some in own], args.seconds * 2)
            process.kill()
            process.wait()
            kills += 1
            for some, bodies in zip(own, answers, strict=True):
                for place, body in zip(some, bodies, strict=False):
                    answered += 1
                    wrong += not body or ids_of(body) != expected[place]
                    generations.add(json.loads(body)["generation"] if body else -1)
    return [{"answers": answered, "wrong": wrong, "generations": len(generations), "kills": kills}]


def vectors_index(folder: Path, count: int, dim: int, seed: int) -> Path:
    """An index of vectors without pictures."""
    vectors = clustered(count, dim, seed)
    with Index.create(folder / "index", dim, root=str(folder), encoder_hash="imported:benchmark", details={}) as index:
        for start in range(0, count, 50_000):
            part = vectors[start : start + 50_000]
            index.add(part, [NewItem(f"{start + one}.jpg", label="f") for one in range(len(part))])
    return folder / "index"


WHAT = {"items": items, "pictures": pictures, "memory": memory, "writer": writer}


def main() -> None:
    parser = options(__doc__, rounds=5)
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--items", type=int, default=100_000, help="of the index (100000)")
    parser.add_argument("--dim", type=int, default=128, help="numbers of a vector (128)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn (3)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = WHAT[args.what](Path(folder), args)
    show(args, rows, items=args.items, dim=args.dim)


if __name__ == "__main__":
    main()
