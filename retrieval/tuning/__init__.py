"""From what is wanted of an index to the structure that does it best here, by measurement.

docs/tuning.md says how it is measured and chosen.
"""
