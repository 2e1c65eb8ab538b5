"""The annotations of Cars196, a file of MATLAB's: a program of its own (:mod:`retrieval.base.sandbox`), since SciPy
trusts what it reads.

`annotations` is an array of structures, of which `relative_im_path` and `class` (from 1 on) are read; `class_names` an
array of texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from retrieval.base.sandbox import answer

_PARENTS = ("/", "\\", "..")


def read(file: Path) -> Mapping[str, object]:
    """`names` and `classes` of the pictures, and `titles` of the classes."""
    from scipy.io import loadmat

    found = loadmat(str(file), squeeze_me=True, variable_names=("annotations", "class_names"))
    missing = [name for name in ("annotations", "class_names") if name not in found]
    if missing:
        raise ValueError(f"it has no {missing[0]}")
    rows = found["annotations"].ravel()
    fields = rows.dtype.names or ()
    if not {"relative_im_path", "class"} <= set(fields):
        raise ValueError("its annotations have no relative_im_path and class")
    names = [str(name) for name in rows["relative_im_path"].tolist()]
    classes = [int(number) for number in rows["class"].tolist()]
    titles = [str(title) for title in found["class_names"].ravel().tolist()]
    strange = next((name for name in names if name.startswith(_PARENTS[:2]) or _PARENTS[2] in name.split("/")), None)
    if strange is not None:
        raise ValueError(f"it names {strange[:60]!r}, which leads out of the folder")
    if not classes or min(classes) < 1 or max(classes) > len(titles):
        raise ValueError(f"its classes are not those from 1 to {len(titles)}")
    return {"names": names, "classes": classes, "titles": titles}


if __name__ == "__main__":
    answer(read)
