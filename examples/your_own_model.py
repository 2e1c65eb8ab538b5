"""An index with a model of your own, in ONNX or PyTorch; its graph is kept in the index, which then needs neither.

    python examples/your_own_model.py photos/ model.onnx
    python examples/your_own_model.py photos/ model.pt2 --size 224       # what torch.export.save wrote

The PyTorch model maps float32 (n, 3, size, size), normalised as below, to float32 (n, dim). For the ONNX file the
command line does the same: `retrieval build photos/ --model onnx:model.onnx`.
"""

import argparse
from pathlib import Path

import retrieval

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("model", type=Path, help="a .onnx or a .pt2 file")
parser.add_argument("--size", type=int, default=224, help="pixels of a side of what a .pt2 sees (224)")
parser.add_argument("--index", type=Path, default=Path("indexes/mine"))
args = parser.parse_args()

if args.model.suffix == ".onnx":
    encoder = retrieval.Encoder.load(f"onnx:{args.model}")
else:
    import torch

    network = torch.export.load(args.model).module()
    with torch.no_grad():
        dim = network(torch.zeros(2, 3, args.size, args.size)).shape[1]
    seen = retrieval.Preprocessing(args.size, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    encoder = retrieval.Encoder.of(network, retrieval.EncoderConfig(args.model.stem, {}, dim, seen))

saved = args.index.with_name(f"{args.index.name}-encoder")
encoder.save(saved)
report = retrieval.build(args.folder, args.index, model=saved, overwrite=True)
print(f"{report.index}: {report.total:,} vectors of {encoder.dim:,} numbers")

with retrieval.Search.open(args.index) as search:
    (answer,) = search.query_ids([0], k=5)
    print(f"most like {search.index.items([0])[0].path}:")
    for hit in answer:
        print(f"{hit.rank}  {hit.score:.3f}  {hit.path}")
