#!/usr/bin/env python3
"""What `retrieval serve` answers, on loopback, against the same calls in a loop in this process.

    python benchmarks/service.py             all that follows, in about five minutes
    python benchmarks/service.py items       stored items: queries a second and delays at 1, 8 and 64 clients
    python benchmarks/service.py pictures    the same for pictures that are sent, each its own (EfficientNet-Lite0)
    python benchmarks/service.py first       the first hits of the page: one client, nothing else going on
    python benchmarks/service.py memory      memory, files and threads of the service over 50,000 queries
    python benchmarks/service.py writer      the same answers while a writer adds and removes, and is killed
    python benchmarks/service.py clip        vectors, against the back end of clip-retrieval, if --clip says where it is

The service is a process of its own. Its clients are connections of one more process (benchmarks/clients.py), each of
which asks again as soon as it is answered, so that on few cores what they need is part of what is measured. Service
and loop take turns of a few seconds, and a ratio is of one turn each; what else the machine does then falls on both.
Answers are compared, hit by hit, with those of the loop. `cpu_ms` is the processor's time for one query: in the loop,
in the service, in the clients. Tables are Markdown; the last one says what was aimed at; --json for programs.

clip-retrieval needs versions of libraries that this project has left behind, and so a folder of its own:

    pip install --target FOLDER --no-deps clip-retrieval
    pip install --target FOLDER flask flask-restful flask-cors fire
    python benchmarks/service.py clip --clip FOLDER
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from clients import Asked, ask, processor_seconds
from command import markdown, options, status
from contest.data import clustered
from PIL import Image
from service_process import serve

from retrieval.base.machine import describe
from retrieval.errors import RetrievalError
from retrieval.index import Index, NewItem
from retrieval.ingest import build
from retrieval.search import Search
from retrieval.search.arrangement import Arrangement

K = 10
"""Hits of a query."""

PAGE = 60
"""Hits that the page shows first; it has labels and attributes counted, too."""

CLIENTS = (1, 8, 64)
FEW, MANY = CLIENTS[1], CLIENTS[2]

REQUESTS = 50_000
"""Of which the memory is looked at ten times."""

Row = dict[str, Any]


@contextlib.contextmanager
def process(*command: object, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that ends with the block."""
    run = subprocess.Popen(
        [sys.executable, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **options
    )
    try:
        yield run
    finally:
        run.send_signal(signal.SIGTERM)
        try:
            run.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            run.kill()
            run.communicate()


def request(path: str, body: bytes, media: str = "application/json") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def asks_for(said: Row) -> bytes:
    """A question that is answered as `Search.query` answers it."""
    return request("/search", json.dumps({"k": K, "same": 0, "details": 0, **said}).encode())


def sent(data: bytes, path: str) -> bytes:
    """A picture that is sent."""
    body = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n' + data + b"\r\n--B--\r\n"
    return request(path, body, "multipart/form-data; boundary=B")


def ids_of(body: bytes) -> list[int]:
    return [hit["id"] for hit in json.loads(body)["hits"]]


def shared_out(asks: Callable[[int], bytes], first: int, clients: int) -> list[Iterator[bytes]]:
    """Questions from one on, without end, every client its own."""
    return [map(asks, itertools.count(first + one, clients)) for one in range(clients)]


def placed(asked: Asked, first: int) -> Iterator[tuple[int, bytes]]:
    """The answers, and which of the questions that were shared out each is of."""
    for one, answers in enumerate(asked.answers):
        yield from zip(itertools.count(first + one, len(asked.answers)), answers, strict=False)


def delays(seconds: list[float]) -> Row:
    milliseconds = np.array(seconds) * 1000
    return {
        "mean_ms": float(milliseconds.mean()),
        **{f"p{one}_ms": float(np.percentile(milliseconds, one)) for one in (50, 95, 99)},
    }


def figures(
    port: int, pid: int, alone: Callable[[int], list[int]], asks: Callable[[int], bytes], args: argparse.Namespace
) -> list[Row]:
    """Turns of the loop and of the service, by the number of clients.

    Args:
        port, pid: of the service. alone: answers question i in this process. asks: question i as a request.
    """
    rows = []
    alone(0)  # what is loaded when it is first needed is no part of a figure
    ask(port, shared_out(asks, 0, 2), args.seconds)
    first = 10**6
    for clients in CLIENTS:
        turns, times, wrong = [], [], 0
        for _ in range(args.rounds):
            expected: dict[int, list[int]] = {}
            own, began = time.process_time(), time.perf_counter()
            for place in itertools.count(first):
                expected[place] = alone(place)
                if time.perf_counter() - began > args.seconds:
                    break
            loop, loop_cpu = time.perf_counter() - began, time.process_time() - own
            before = processor_seconds(pid)
            asked = ask(port, shared_out(asks, first, clients), args.seconds)
            n = len(asked.seconds)
            turns.append(
                (
                    len(expected) / loop, n / asked.took, loop_cpu / len(expected),
                    (processor_seconds(pid) - before) / n, asked.own / n,
                )
            )  # fmt: skip
            times += asked.seconds
            for place, body in placed(asked, first):
                wrong += not body or (place in expected and ids_of(body) != expected[place])
            first += 2 * n + clients  # no picture is asked with twice, which would be known then
        alone_a_second, a_second, *cpu = np.array(turns).T
        ratios = a_second / alone_a_second
        rows.append(
            {
                "clients": clients,
                "loop_per_second": float(np.median(alone_a_second)), "per_second": float(np.median(a_second)),
                "ratio": float(np.median(ratios)), "least": float(ratios.min()), "most": float(ratios.max()),
                **delays(times),
                **{f"{whose}_cpu_ms": float(np.median(one)) * 1000
                   for whose, one in zip(("loop", "service", "clients"), cpu, strict=True)},
                "answers": len(times), "wrong": wrong,
            }
        )  # fmt: skip
    return rows


def items(folder: Path, args: argparse.Namespace) -> list[Row]:
    """Stored items of an index without an approximate structure."""
    index = vectors_index(folder, clustered(args.items, args.dim, args.seed))
    ids = np.random.default_rng(args.seed).integers(0, args.items, 20_000).tolist()
    with Search.open(index) as search, serve(index) as (_, port, pid):
        return figures(
            port, pid,
            lambda place: [hit.id for hit in search.query_ids([ids[place % len(ids)]], K)[0]],
            lambda place: asks_for({"like": [f"id:{ids[place % len(ids)]}"]}),
            args,
        )  # fmt: skip


def photographs(folder: Path, args: argparse.Namespace) -> tuple[Path, list[bytes]]:
    """An index of 200 pictures of 640×480 by EfficientNet-Lite0, and 200 others."""
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
    return folder / "index", [picture() for _ in range(200)]


def unseen(pictures: list[bytes], place: int) -> bytes:
    """A picture whose file nobody has sent before: what stands behind its end is no part of it."""
    return pictures[place % len(pictures)] + b"%d" % place


def pictures(folder: Path, args: argparse.Namespace) -> list[Row]:
    """Pictures that nobody has asked with before."""
    index, others = photographs(folder, args)
    with Search.open(index) as search, serve(index) as (_, port, pid):
        return figures(
            port, pid,
            lambda place: [hit.id for hit in search.query(unseen(others, place), K)[0]],
            lambda place: sent(unseen(others, place), f"/search?same=0&details=0&k={K}"),
            args,
        )  # fmt: skip


def first(folder: Path, args: argparse.Namespace) -> list[Row]:
    """What the page asks before it shows anything, against the same in this process."""
    index, others = photographs(folder, args)
    question = {"k": PAGE, "facets": True}
    how = Arrangement(facets=True)
    with Search.open(index) as search, serve(index) as (_, port, _):

        def send(place: int) -> list[float]:
            """A picture as the page sends it: kept first, and then asked with by its name."""
            kept = ask(port, [[sent(unseen(others, place), "/uploads")]], math.inf)
            (body,) = kept.answers[0]
            name = json.loads(body)["uploads"][0]["sha256"]
            found = ask(
                port, [[request("/search", json.dumps({**question, "like": [f"upload:{name}"]}).encode())]], math.inf
            )
            return [kept.seconds[0] + found.seconds[0]]

        def click(place: int) -> list[float]:
            said = {**question, "like": [f"id:{place % 200}"]}
            return ask(port, [[request("/search", json.dumps(said).encode())]], math.inf).seconds

        ways: dict[str, tuple[Callable[[int], object], Callable[[int], list[float]]]] = {
            "a picture is dropped": (lambda place: search.query(unseen(others, place), PAGE, arrange=how), send),
            "a picture is clicked": (lambda place: search.query_ids([place % 200], PAGE, arrange=how), click),
        }
        rows = []
        for name, (alone, over) in ways.items():
            loop, page = [], []
            for place in range(50 + 2):
                began = time.perf_counter()
                alone(place)
                loop.append(time.perf_counter() - began)
                page += over(place)
            mine, theirs = (np.median(one[2:]) * 1000 for one in (page, loop))
            rows.append(
                {"what": name, "search_ms": float(theirs), "page_ms": float(mine),
                 "at_most_ms": float(1.5 * theirs + 20), "p95_ms": float(np.percentile(page[2:], 95) * 1000)}
            )  # fmt: skip
        return rows


def memory(folder: Path, args: argparse.Namespace) -> list[Row]:
    """What the service takes after each tenth of its requests."""
    index = vectors_index(folder, clustered(args.items, args.dim, args.seed))
    ids = np.random.default_rng(args.seed).integers(0, args.items, REQUESTS // 10).tolist()
    asks = [asks_for({"like": [f"id:{id_}"]}) for id_ in ids]
    rows = []
    with serve(index) as (_, port, pid):
        for tenth in range(11):
            if tenth:
                ask(port, [asks[start::FEW] for start in range(FEW)], math.inf)
            told = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            rows.append(
                {
                    "requests": tenth * len(asks),
                    "memory_mb": int(told["VmRSS"].split()[0]) / 1024,
                    "files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
                    "threads": int(told["Threads"]),
                }
            )
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
    print(number, flush=True)
"""


def writer(folder: Path, args: argparse.Namespace) -> list[Row]:
    """Hits of what a writer never touches are the same all the while, and what it committed is served in the end."""
    index = vectors_index(folder, clustered(args.items, args.dim, args.seed))
    ids = np.random.default_rng(args.seed).integers(0, args.items, 2_000).tolist()
    with Search.open(index) as search:
        expected = [[hit.id for hit in answer] for answer in search.query_ids(ids, K)]  # far from what the writer adds
    row = {"answers": 0, "wrong": 0, "kills": 0}
    generations: set[int] = set()
    with serve(index) as (_, port, _):
        for turn in range(args.rounds):
            with process("-c", WRITER, index, turn) as run:
                assert run.stdout is not None
                run.stdout.readline()  # it is at work
                asked = ask(
                    port,
                    shared_out(lambda place: asks_for({"like": [f"id:{ids[place % len(ids)]}"]}), 0, FEW),
                    args.seconds,
                )
                run.kill()
                row["kills"] += 1
            for place, body in placed(asked, 0):
                row["answers"] += 1
                row["wrong"] += not body or ids_of(body) != expected[place % len(ids)]
                generations.add(json.loads(body)["generation"] if body else -1)
        with Index.open(index, write=True) as opened:  # what the last one left is put right, and one more change
            opened.remove([ids[0]])
            held = opened.generation, len(opened)
        end = time.monotonic() + 10
        while (served := _served(port)) != held and time.monotonic() < end:
            time.sleep(0.1)
    return [{**row, "generations": len(generations), "lost": int(served != held)}]


def _served(port: int) -> tuple[int, int]:
    """Generation and items of what is served."""
    (answer,) = ask(port, [[b"GET /info HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"]], math.inf).answers[0]
    (told,) = json.loads(answer)["indexes"]
    return told["generation"], told["items"]


CLIP_BACK = """
import importlib.util, sys, types, flask
package = types.ModuleType("clip_retrieval")  # without what it imports to encode pictures
package.__path__ = importlib.util.find_spec("clip_retrieval").submodule_search_locations
sys.modules["clip_retrieval"] = package
sys.modules["clip_retrieval.clip_front"] = types.SimpleNamespace(add_static_endpoints=lambda *_: None)  # nor its page
from clip_retrieval import clip_back as back
folder, port = sys.argv[1:]
run = flask.Flask.run
flask.Flask.run = lambda app, host, **options: run(app, host="127.0.0.1", **options)  # not for all the world
nothing = dict.fromkeys(back.ClipResource.__dataclass_fields__)  # vectors need no network
back.load_clip_indices = lambda **_: {"vectors": back.ClipResource(**nothing | {
    "metadata_provider": back.ParquetMetadataProvider(folder + "/metadata"),
    "image_index": back.load_index(folder + "/image.index", False),
    "columns_to_return": ["image_path"],
    "metadata_is_ordered_by_ivf": False,
})}
back.clip_back(port=int(port))
"""
"""Their program, but for the network, which is not asked for, and the address."""


@contextlib.contextmanager
def clip_retrieval(folder: Path, vectors: Any, installed: Path) -> Iterator[int]:
    """The back end of clip-retrieval, of the same vectors in an exact index: its port.

    Raises:
        RetrievalError: it does not run.
    """
    import pandas as pd

    (folder / "metadata").mkdir(parents=True)
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    faiss.write_index(flat, str(folder / "image.index"))
    pd.DataFrame({"image_path": [f"{row}.jpg" for row in range(len(vectors))]}).to_parquet(
        folder / "metadata" / "0.parquet"
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    paths = os.pathsep.join([*filter(None, sys.path), str(installed)])
    with process("-c", CLIP_BACK, folder, port, env={**os.environ, "PYTHONPATH": paths}) as run:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            if run.poll() is not None:
                raise RetrievalError(
                    f"clip-retrieval in {str(installed)!r} does not start; install it as this benchmark's help says."
                )
            time.sleep(0.2)
        yield port


def clip(folder: Path, args: argparse.Namespace) -> list[Row]:
    """The same vectors asked of both services, in turns."""
    if args.clip is None:
        return [{"clients": None, "note": "not compared: --clip says where clip-retrieval is installed"}]
    vectors = clustered(args.items, args.dim, args.seed)
    rng = np.random.default_rng(args.seed)
    queries = vectors[rng.integers(0, len(vectors), 1000)] + 0.1 * rng.normal(size=(1000, args.dim)) / args.dim**0.5
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    asked_of = {
        "retrieval": lambda place: asks_for({"vector": queries[place % 1000].tolist()}),
        "clip-retrieval": lambda place: request(
            "/knn-service",
            json.dumps(
                {"embedding_input": queries[place % 1000].tolist(), "modality": "image", "num_images": K,
                 "indice_name": "vectors"}
            ).encode(),
        ),
    }  # fmt: skip
    index = vectors_index(folder, vectors)
    found: dict[str, dict[int, set[int]]] = {name: {} for name in asked_of}
    rows = []
    with serve(index) as (_, ours, _), clip_retrieval(folder / "clip", vectors, args.clip) as theirs:
        ports = {"retrieval": ours, "clip-retrieval": theirs}
        for clients in CLIENTS:
            speed: dict[str, list[float]] = {name: [] for name in ports}
            times: dict[str, list[float]] = {name: [] for name in ports}
            for turn in range(args.rounds + 1):
                for name, port in ports.items():
                    asked = ask(port, shared_out(asked_of[name], 0, clients), args.seconds if turn else 0.5)
                    if turn:  # the first loads what is loaded when it is first needed
                        speed[name].append(len(asked.seconds) / asked.took)
                        times[name] += asked.seconds
                    for place, body in placed(asked, 0):
                        hits = json.loads(body or b"[]")
                        found[name][place % 1000] = {
                            hit["id"] for hit in (hits["hits"] if name == "retrieval" else hits)
                        }
            ratios = np.array(speed["retrieval"]) / np.array(speed["clip-retrieval"])
            both = found["retrieval"].keys() & found["clip-retrieval"].keys()
            rows.append(
                {
                    "clients": clients,
                    **{f"{name}_per_second": float(np.median(one)) for name, one in speed.items()},
                    "ratio": float(np.median(ratios)), "least": float(ratios.min()), "most": float(ratios.max()),
                    **{f"{name}_p99_ms": delays(one)["p99_ms"] for name, one in times.items()},
                    "same": sum(found["retrieval"][one] == found["clip-retrieval"][one] for one in both) / len(both),
                }
            )  # fmt: skip
    return rows


def vectors_index(folder: Path, vectors: Any) -> Path:
    """An index of vectors without pictures; the id of each is its row."""
    dim = vectors.shape[1]
    with Index.create(folder / "index", dim, root=str(folder), encoder_hash="imported:benchmark", details={}) as index:
        for start in range(0, len(vectors), 50_000):
            part = vectors[start : start + 50_000]
            index.add(part, [NewItem(f"{start + one}.jpg", label="f") for one in range(len(part))])
    return folder / "index"


PARTS = {"items": items, "pictures": pictures, "first": first, "memory": memory, "writer": writer, "clip": clip}


def aims(found: dict[str, list[Row]]) -> list[Row]:
    """What was aimed at, and whether it was reached."""
    rows = []

    def aim(what: str, measured: float, least: float = -math.inf, most: float = math.inf) -> None:
        bound = f"at most {most:.3g}" if least == -math.inf else f"at least {least:.3g}"
        rows.append({"what": what, "measured": measured, "aim": bound, "reached": least <= measured <= most})

    for part, least in (("items", 0.8), ("pictures", 0.9)):
        by_clients = {row["clients"]: row for row in found.get(part, ())}
        if by_clients:
            few, many = by_clients[FEW], by_clients[MANY]
            aim(f"{part}: throughput at {MANY} clients, of the loop's", many["ratio"], least=least)
            aim(f"{part}: p99 at {FEW} clients, of their mean", few["p99_ms"] / few["mean_ms"], most=1.5)
            alone = few["mean_ms"] * few["loop_per_second"] / 1000
            aim(f"{part}: mean at {FEW} clients, of one query's time in the loop", alone, most=FEW / 0.8)
            aim(f"{part}: wrong answers", sum(row["wrong"] for row in by_clients.values()), most=0)
    for row in found.get("first", ()):
        aim(f"first hits, ms: {row['what']}", row["page_ms"], most=row["at_most_ms"])
    if "memory" in found:
        half, last = found["memory"][5], found["memory"][-1]
        aim(
            f"growth of memory over the last {REQUESTS // 2:,} requests, MB",
            last["memory_mb"] - half["memory_mb"],
            most=5,
        )
        aim("files and threads more", last["files"] + last["threads"] - half["files"] - half["threads"], most=0)
    for row in found.get("writer", ()):
        aim("answers lost or wrong beside a writer that is killed", row["wrong"] + row["lost"], most=0)
    return rows


def main() -> int:
    parser = options(__doc__, rounds=4)
    parser.add_argument("what", nargs="*", default=[], help=f"any of {', '.join(PARTS)} (all)")
    parser.add_argument("--items", type=int, default=100_000, help="of the index (100000)")
    parser.add_argument("--dim", type=int, default=128, help="numbers of a vector (128)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn (2)")
    parser.add_argument("--clip", type=Path, help="the folder that clip-retrieval was installed into")
    args = parser.parse_args()
    if unknown := set(args.what) - PARTS.keys():
        parser.error(f"there is no part {', '.join(sorted(unknown))}; choose any of {', '.join(PARTS)}")
    found = {}
    for name in args.what or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = PARTS[name](Path(folder), args)
    about = {
        "machine": describe(),
        **{name: getattr(args, name) for name in ("rounds", "seed", "items", "dim", "seconds")},
    }
    found["aims"] = aims(found)
    if args.json:
        print(json.dumps({**about, **found}, indent=2))
    else:
        print("\n\n".join(f"{name}:\n\n{markdown(rows)}" for name, rows in found.items() if rows) + f"\n\n{about}")
    return 0


if __name__ == "__main__":
    sys.exit(status(main))
