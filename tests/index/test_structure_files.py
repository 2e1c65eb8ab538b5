"""Files of structures: what is read was written, and whatever else lies there is an error, no crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
from vectors import clustered, unit

from retrieval.base.open_file import DamagedFileError
from retrieval.errors import RetrievalError
from retrieval.index.nearest import kinds

KINDS = [
    "SQ8", "PQ16x4fs", "RaBitQ", "HNSW8,Flat", "HNSW8_SQ8", "PCA8,HNSW8_SQ8", "IVF8,Flat", "IVF8,PQ16x4fs",
    "IVF8,RaBitQ", "PCA8,IVF8,SQ8", "NSG8,Flat", "BFlat", "BHNSW8", "BIVF4", "SymphonyQG32",
    "SymphonyQG32_SQ8", "RR32,IVF8,RaBitQfs", "Lists16x16",
]  # fmt: skip
SHORT = ("SQ8", "HNSW8,Flat", "PCA8,IVF8,SQ8", "BIVF4", "SymphonyQG32", "Lists16x16")
"""One of each family: those whose files are damaged in the normal run, too."""
N, D = 400, 32

HOSTILE = """
import signal, sys
from pathlib import Path
import faiss
import numpy as np
from retrieval.errors import RetrievalError
from retrieval.index.nearest import kinds
signal.alarm(50)
faiss.omp_set_num_threads(1)
factory, file = sys.argv[1], Path(sys.argv[2])
parameters = kinds.efforts(factory, 400)[-1]
whole, rng = file.read_bytes(), np.random.default_rng(0)
queries = np.eye(32, dtype=np.float32)
read = 0
for turn in range(150):
    damaged = bytearray(whole)
    # The head and the foot are what FAISS steers by; the rest is mostly codes and neighbours.
    at = int(rng.integers(min(len(whole), 600) if turn % 3 else len(whole)))
    at = len(whole) - 1 - at if turn % 2 else at
    if turn % 4 == 0:
        damaged[at] ^= 1 << int(rng.integers(8))
    elif turn % 4 == 1:
        damaged[at : at + 8] = int(rng.integers(1 << 40)).to_bytes(8, "little")
    elif turn % 4 == 2:
        damaged[at // 4 * 4 : at // 4 * 4 + 4] = b"\\xff\\xff\\xff\\x7f"
    else:
        damaged = damaged[:at]
    file.write_bytes(damaged)
    for mapped in (False, True):
        try:
            structure = kinds.read(factory, file, 32, 400, mapped=mapped)
        except RetrievalError:
            continue
        read += 1
        for some in (queries[:1], queries):
            found = structure.candidates(some, 12, parameters)
            assert found.min() >= -1 and found.max() < 400, (turn, at)
print("alive", read)
"""


@pytest.mark.parametrize(
    "factory", [pytest.param(kind, marks=[] if kind in SHORT else pytest.mark.long) for kind in KINDS]
)
def test_a_damaged_file_is_an_error_or_searched_without_a_crash(factory, tmp_path):
    kinds.build(factory, clustered(N, D), seed=0).write(tmp_path / "x.ann")
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE, factory, tmp_path / "x.ann"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.startswith("alive"), (done.returncode, done.stderr[-2000:])
    assert int(done.stdout.split()[1]) < 250  # much of the damage was seen


@pytest.mark.parametrize("factory", KINDS)
def test_a_file_of_another_kind_is_an_error(factory, tmp_path):
    kinds.build(factory, clustered(N, D), seed=0).write(tmp_path / "x.ann")
    others = [*KINDS, "SQfp16", "HNSW8_SQfp16", "IVF9,Flat", "PCA9,HNSW8_SQ8", "PQ8x4fs", "BIVF5", "Nonsense", "BNo"]
    others += ["Lists16x32", "Lists32x16", "Lists8x16"]
    for other in others:
        if other != factory and not other.startswith("Symphony"):
            with pytest.raises(DamagedFileError):
                kinds.read(other, tmp_path / "x.ann", D, N)
    for file, content in (("empty", b""), ("text", b"a structure"), ("zeros", bytes(4000))):
        (tmp_path / file).write_bytes(content)
        with pytest.raises(DamagedFileError):
            kinds.read(factory, tmp_path / file, D, N)
    with pytest.raises(DamagedFileError):
        kinds.read(factory, tmp_path / "missing", D, N)


@pytest.mark.parametrize("factory", ["IVF8,Flat", "PCA8,IVF8,SQ8", "BIVF4"])
@pytest.mark.parametrize("position", [N, 10**12, -1])
def test_lists_name_no_position_that_is_not_there(factory, position, tmp_path):
    structure = kinds.build(factory, clustered(N, D), seed=0)
    lists = (structure._inner if hasattr(structure, "_inner") else structure._index).invlists
    number = next(number for number in range(lists.nlist) if lists.list_size(number))
    faiss.rev_swig_ptr(lists.get_ids(number), 1)[0] = position
    structure.write(tmp_path / "x.ann")
    with pytest.raises(DamagedFileError, match="not the structure"):
        kinds.read(factory, tmp_path / "x.ann", D, N)


@pytest.mark.parametrize("factory", KINDS)
def test_its_size_is_that_of_its_file(factory, tmp_path):
    structure = kinds.build(factory, clustered(N, D), seed=0)
    structure.write(tmp_path / "x.ann")
    size = (tmp_path / "x.ann").stat().st_size
    assert size / 2 < structure.bytes() < 2 * size if "Symphony" in factory else structure.bytes() == size


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux says what is mapped")
@pytest.mark.parametrize(
    "factory", ["SQ8", "HNSW8,Flat", "PCA8,HNSW8_SQ8", "IVF8,Flat", "PCA8,IVF8,SQ8", "RaBitQ", "Lists16x16"]
)
def test_what_can_be_mapped_is_left_on_the_disk(factory, tmp_path):
    path = tmp_path / "x.ann"
    kinds.build(factory, clustered(N, D), seed=0).write(path)
    for mapped in (False, True):
        structure = kinds.read(factory, path, D, N, mapped=mapped)
        assert (str(path) in Path("/proc/self/maps").read_text()) == mapped
        assert len(structure) == N
        del structure
    assert str(path) not in Path("/proc/self/maps").read_text()


def test_what_cannot_be_written_is_one_sentence(tmp_path):
    structure = kinds.build("SQ8", unit(50, D), seed=0)
    with pytest.raises(RetrievalError, match="cannot be written"):
        structure.write(tmp_path / "nowhere" / "x.ann")
    assert not list(tmp_path.iterdir())


def test_limits_on_what_is_read_are_given_back(tmp_path):
    before = faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()
    kinds.build("SQ8", unit(50, D), seed=0).write(tmp_path / "x.ann")
    kinds.read("SQ8", tmp_path / "x.ann", D, 50)
    (tmp_path / "x.ann").write_bytes(b"IxSQ" + bytes(90))
    with pytest.raises(DamagedFileError):
        kinds.read("SQ8", tmp_path / "x.ann", D, 50)
    assert (faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()) == before


@pytest.mark.parametrize("factory", ["IVF64,PQ32x4fs", "PCA32,IVF64,PQ16x4fs"])
def test_a_table_larger_than_its_file_can_be_read(factory, tmp_path):
    """FAISS computes it when it reads lists of quantized vectors, within its limit on what it reads."""
    vectors = unit(100, 64)
    kinds.build(factory, vectors, seed=0).write(tmp_path / "x.ann")
    assert (tmp_path / "x.ann").stat().st_size < 4 * 64 * 32 * 16 or "PCA" in factory
    read = kinds.read(factory, tmp_path / "x.ann", 64, 100)
    assert (read.candidates(vectors[:5], 1, {"nprobe": 64})[:, 0] >= 0).all()


def test_signs_are_those_of_centred_vectors(tmp_path):
    """Of vectors that all point one way, most signs would be the same without."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((2000, 64)) * 0.2 + 1
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    structure = kinds.build("BFlat", vectors, seed=0)
    codes = faiss.vector_to_array(structure._index.xb).reshape(2000, -1)
    ones = np.unpackbits(codes, axis=1).mean(axis=0)
    assert ones.min() > 0.4 and ones.max() < 0.6
    # The rotation is in the file: one that was made otherwise tomorrow would not fit the codes.
    structure.write(tmp_path / "x.ann")
    read = kinds.read("BFlat", tmp_path / "x.ann", 64, 2000)
    np.testing.assert_array_equal(read.candidates(vectors[:50], 1, {})[:, 0], np.arange(50))
