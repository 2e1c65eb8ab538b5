"""What `benchmarks/neighbours.py` is made of: sets of vectors, systems that search them, and a process for each."""
