#!/usr/bin/env python3
"""`retrieval build`, for someone who has just cloned the repository."""

import sys

from retrieval.cli import main

if __name__ == "__main__":
    sys.exit(main(["build", *sys.argv[1:]], prog="build_index.py"))
