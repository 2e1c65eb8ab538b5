#!/usr/bin/env python3
"""`retrieval train`, for someone who has just cloned the repository."""

import sys

from retrieval.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]], prog="train_triplet.py"))
