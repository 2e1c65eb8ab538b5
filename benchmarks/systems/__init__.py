"""What `benchmarks/family.py` measures: the systems of the articles this project grew from, each beside its figure."""
