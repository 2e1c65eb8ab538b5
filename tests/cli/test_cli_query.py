"""`retrieval query`: what is said where nothing is found."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.cli import main
from retrieval.index import Index, NewItem


@pytest.mark.parametrize(
    ("least", "said"), [("0", "that scores 0.000 or more"), ("-0.5", "that scores -0.500 or more")]
)
def test_the_least_score_is_a_reason_even_if_it_is_zero(tmp_path, capsys, least, said):
    folder = tmp_path / "index"
    with Index.create(folder, 2, root="photos", encoder_hash="0" * 64, details={}, decoder="pillow 11.0") as index:
        first, _ = index.add(np.array([[1, 0], [-1, 0]], np.float32), [NewItem("a.png"), NewItem("b.png")])
    assert main(["query", str(folder), "--id", str(first), f"--above={least}"]) == 0
    assert capsys.readouterr().out.endswith(f"nothing found: the index holds no other picture {said}\n")
