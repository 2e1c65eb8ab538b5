# Everything a newcomer needs: `make demo` and `make test`. Each sets up .venv first, and quickly if it is there already.

SHELL := /bin/bash
BIN := .venv/bin
# One process more than there are cores, up to four: now and then a test waits.
WORKERS := $(shell cores=$$(nproc); echo $$((cores < 3 ? cores + 1 : 4)))
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint pins clean

help: ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

setup: ## make .venv with the pinned versions of everything (setup.sh)
	@./setup.sh

demo: setup ## the whole job on real pictures: get, train, index, query, measure (demo.sh)
	@./demo.sh

# One thread a process: on few cores, processes beside each other get more done than threads inside one.
# Where Python may not keep what it compiles, each of the hundreds of processes compiles torch anew, for 2 to 10 s.
test: setup ## run all the tests
	env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

lint: setup ## style and types: ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# The closure of every extra, for every platform. torch stays where it is: another version means gigabytes.
pins: setup ## write constraints.txt anew with the newest versions
	$(BIN)/python -m pip install --quiet uv
	{ sed -n '/^#/p' constraints.txt; \
	  $(BIN)/uv pip compile setup.cfg --all-extras --universal --python-version 3.11 --quiet \
	    --no-header --no-annotate --constraint <(echo torch==2.13.0); } > .venv/constraints.new
	mv .venv/constraints.new constraints.txt

clean: ## remove what was made from the sources; data/, runs/ and indexes/ stay
	rm -rf .venv .venv.old build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
