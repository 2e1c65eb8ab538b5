#!/usr/bin/env python3
"""`retrieval query`, for someone who has just cloned the repository."""

import sys

from retrieval.cli import main

if __name__ == "__main__":
    sys.exit(main(["query", *sys.argv[1:]], prog="query.py"))
