"""How good an encoder, an index or somebody's vectors are: a report with intervals out."""
