"""Embed a folder with a model of your own, in ONNX or PyTorch, and search with its vectors.

    python examples/your_own_model.py photos/ model.onnx --size 224
    python examples/your_own_model.py photos/ model.pt2 --size 224       # what torch.export.save wrote

The model maps float32 (n, 3, size, size), normalised as below, to float32 (n, dim). Anything else that makes vectors
goes in the place of `embed`.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

import retrieval

MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("model", type=Path, help="a .onnx or a .pt2 file")
parser.add_argument("--size", type=int, default=224, help="pixels of a side of what it sees (224)")
parser.add_argument("--index", type=Path, default=Path("indexes/mine"))
args = parser.parse_args()

if args.model.suffix == ".onnx":
    import onnxruntime

    session = onnxruntime.InferenceSession(args.model)
    name = session.get_inputs()[0].name

    def embed(x: np.ndarray) -> np.ndarray:
        return session.run(None, {name: x})[0]
else:
    import torch

    network = torch.export.load(args.model).module()

    def embed(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network(torch.from_numpy(x)).numpy()


pictures, _ = retrieval.datasets.load(args.folder).check()
seen = retrieval.Preprocessing(size=args.size, mode="RGB", fit="crop")  # a square from the middle
vectors = []
for start in range(0, len(pictures), 32):
    pixels = pictures.read(seen, np.arange(start, min(start + 32, len(pictures))))  # uint8 (n, size, size, 3)
    x = (pixels.astype(np.float32) / 255 - MEAN) / STD
    vectors.append(embed(np.ascontiguousarray(x.transpose(0, 3, 1, 2))))

args.index.parent.mkdir(parents=True, exist_ok=True)
saved = args.index.with_suffix(".npy")
np.save(saved, np.concatenate(vectors))
with saved.with_suffix(".csv").open("w", newline="") as file:
    rows = csv.writer(file)
    rows.writerow(["path", "label"])
    labels = [pictures.classes[k] if k >= 0 else "" for k in pictures.labels]
    rows.writerows(zip(pictures.names, labels, strict=True))
report = retrieval.import_index(
    saved, args.index, list_file=saved.with_suffix(".csv"), root=args.folder.resolve(), overwrite=True
)
print(f"{report.index}: {report.items:,} vectors of {report.dim:,} numbers")

with retrieval.Search.open(args.index) as search:
    (answer,) = search.query_paths([pictures.names[0]], k=5)
    print(f"most like {answer.query}:")
    for hit in answer:
        print(f"{hit.rank}  {hit.score:.3f}  {hit.path}")
