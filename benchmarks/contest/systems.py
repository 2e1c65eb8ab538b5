"""Everything that is compared, by name."""

from __future__ import annotations

from contest import peers
from contest.ours import EXACT, index_of
from contest.system import System
from contest.with_faiss import autofaiss, faiss_by_hand

OURS = "ours"
BY_HAND = "FAISS by hand"

FACTORIES = (
    EXACT,
    "SymphonyQG32",
    "SymphonyQG32_SQ8",
    "ListsSIXTEENSxSOME",
    "HNSW32,Flat",
    "PCAHALF,HNSW16_SQ8",
    "PCAQUARTER,IVFLISTS,SQ8",
    "IVFLISTS,PQHALFx4fs",
    "RRDIM,IVFLISTS,RaBitQfs",
)
"""Our structures, unless others are asked for. autofaiss gets the memory of the first that is no exact search."""

HAND = ("Flat", "HNSW16,Flat", "HNSW32,Flat", "IVFLISTS,Flat", "IVFLISTS,PQHALFx4fs,RFlat", "PCAHALF,HNSW16_SQ8,RFlat")

PEERS = {
    **{f"faiss {factory}": System("faiss-cpu", "faiss", faiss_by_hand(factory), BY_HAND) for factory in HAND},
    "autofaiss": System("autofaiss", "autofaiss", autofaiss, "autofaiss"),
    "hnswlib": System("hnswlib", "hnswlib", peers.hnswlib, "hnswlib"),
    "usearch": System("usearch", "usearch", peers.usearch, "usearch"),
    "voyager": System("voyager", "voyager", peers.voyager, "voyager"),
    "nmslib": System("nmslib", "nmslib", peers.nmslib, "nmslib"),
    "ScaNN": System("scann", "scann", peers.scann, "ScaNN"),
    "SVS": System("scalable-vs", "svs", peers.svs, "SVS"),
    "pynndescent": System("pynndescent", "pynndescent", peers.pynndescent, "pynndescent"),
    "rabitqlib": System("rabitqlib", "rabitqlib", peers.rabitqlib, "rabitqlib"),
    "LoRANN": System("lorann", "lorann", peers.lorann, "LoRANN"),
    "glass": System("pyglass-portable", "glass", peers.glass, "glass"),
    "VSAG": System("pyvsag", "pyvsag", peers.vsag, "VSAG"),
    "NGT": System("ngt", "ngtpy", peers.ngt, "NGT"),
    "annoy": System("annoy", "annoy", peers.annoy, "annoy"),
}


def ours(factory: str) -> str:
    """The name of one of our structures as a system."""
    return f"{OURS} {factory}"


def find(name: str) -> System:
    """A system by its name."""
    if name.startswith(f"{OURS} "):
        return System("retrieval", "retrieval", index_of(name.removeprefix(f"{OURS} ")), OURS)
    return PEERS[name]
