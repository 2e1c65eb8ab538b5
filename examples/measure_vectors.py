"""Measure anybody's vectors: how good they are at finding pictures of the same label, and how sure that is.

    python examples/measure_vectors.py vectors.npy labels.npy
    python examples/measure_vectors.py vectors.npy labels.npy --against others.npy

Rows of the .npy files are vectors, (n, dim), of any length. Each asks for all others; its own row does not count.
"""

import argparse

import retrieval

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("vectors")
parser.add_argument("labels", help="one label a row (.npy, .csv, .txt, .json)")
parser.add_argument("--against", help="vectors of another model for the same rows: is the difference real?")
args = parser.parse_args()

report = retrieval.evaluate_vectors(args.vectors, labels=args.labels)
print(report.table())

found = report["P@1"]
print(f"\nOf 100 first hits {100 * found.value:.1f} are right ({100 * found.low:.1f} to {100 * found.high:.1f}).")

if args.against:
    other = retrieval.evaluate_vectors(args.against, labels=args.labels)
    print(retrieval.compare_kept(report.kept(), other.kept()).table())
