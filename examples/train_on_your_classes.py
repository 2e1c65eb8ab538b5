"""Train an embedding on your own classes, and say how good it is on pictures that it has not seen.

    python examples/train_on_your_classes.py photos/

Your classes are folders: photos/cat/1.jpg, photos/dog/2.jpg, ... (docs/data.md has the other forms.) Every fifth
picture is kept from the training. Ctrl-C at any time: the same command goes on.
"""

import argparse
from pathlib import Path

import numpy as np

import retrieval

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path, help="one folder a class")
parser.add_argument("--run", type=Path, default=Path("runs/mine"), help="what the training writes (runs/mine)")
parser.add_argument("--epochs", type=int, default=10, help="how often each picture is seen (10)")
parser.add_argument("--net", default="convnet", help="or efficientnet_lite0, which starts from ImageNet (convnet)")
args = parser.parse_args()

pictures, unreadable = retrieval.datasets.load(args.folder).check()
print(f"{len(pictures):,} pictures of {len(pictures.classes):,} classes; {len(unreadable):,} cannot be read")

held_out = np.arange(len(pictures)) % 5 == 0
training, others = pictures.select(~held_out), pictures.select(held_out)

recipe = retrieval.Recipe(net=args.net, epochs=args.epochs)
trained = retrieval.train(training, args.run, recipe, resume=True)

encoder = retrieval.Encoder.load(trained.folder)
report = retrieval.evaluate_encoder(encoder, training, queries=others)
print(report.table())
print(f"\nUse it: retrieval build {args.folder} --model {trained.folder}")
