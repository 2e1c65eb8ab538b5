"""Exports to a disk that is full: a sentence, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import exchange_data
import numpy as np
import pytest

from retrieval.index import Index, NewItem

TOP = Path(__file__).parents[2]

PROGRAM = """
import os, subprocess, sys
from pathlib import Path

from retrieval.errors import RetrievalError
from retrieval.exchange import export_index
from retrieval.index import Index

disk, index = Path(sys.argv[1]), Path(sys.argv[2])
if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=False).returncode:
    sys.exit(77)
for wanted in sys.argv[3:]:
    name, *options = wanted.split()
    refused = 0
    for left in (0, 4096, 40960, 81920, 122880, 163840, 204800):
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        os.truncate(filler, max(0, filler.stat().st_size - left))
        more = {"list_file": str(disk / options[0])} if options else {}
        try:
            with Index.open(index, mapped=True) as opened:
                export_index(opened, disk / name, overwrite=True, **more)
        except RetrievalError as error:
            refused += 1
            said = str(error)
            assert said.splitlines() == [said] and len(said) < 300, said
            assert "No space left on device" in said and str(disk) in said, said
            assert sorted(path.name for path in disk.iterdir()) == ["filler"], list(disk.iterdir())
        else:
            break
        filler.unlink()
    assert refused >= 3, (wanted, refused)
    subprocess.run(["sh", "-c", 'rm -rf "$1"/*', "sh", disk], check=True)
"""


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """A real one: a file system of a few hundred kilobytes, mounted in a name space of its own."""
    n = 1500
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(n, exchange_data.DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with Index.create(tmp_path / "index", exchange_data.DIM, root="p", encoder_hash="abc", details={}) as index:
        index.add(vectors, [NewItem(f"{number}.png", str(number % 7)) for number in range(n)])
    disk = tmp_path / "disk"
    disk.mkdir()
    wanted = ["x.hdf5", "x.h5", "x.npy", "x.fvecs", "x.faiss", "x.npy x.json", "x.npy x.csv"]
    try:
        import pyarrow  # noqa: F401 (whether it is there)

        wanted += ["x.npy x.parquet", "folder"]
    except ImportError:
        pass
    try:
        done = subprocess.run(
            ["unshare", "--mount", "--map-root-user", sys.executable, "-c", PROGRAM, disk, tmp_path / "index", *wanted],
            env={**os.environ, "PYTHONPATH": str(TOP)},
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare(1)")
    if done.returncode == 77 or "unshare:" in done.stderr:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
