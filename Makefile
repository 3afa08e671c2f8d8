# Every target makes what it needs: `make demo` and `make test` work in a fresh clone.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint types app notebook clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

setup: $(INSTALLED) ## make .venv with everything pinned in constraints.txt

$(INSTALLED): pyproject.toml constraints.txt
	command -v $(PYTHON) >/dev/null || { echo "fakelens needs Python 3.11: install it or say 'make PYTHON=/path/to/python'"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	# torch first and alone: what comes after is then satisfied by it.
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[train,app,cluster,dev]'
	touch $@

demo: setup ## the whole pipeline on synthetic pictures, about ten minutes on two cores
	$(BIN)/fakelens run --recipe demo

test: setup ## all tests, offline, in two processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope

check: lint types ## lint, types and the fast tests
	$(BIN)/python -m pytest -m "not slow and not browser"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

app: setup ## start the app of the newest bundle
	$(BIN)/fakelens app

notebook: setup ## write notebooks/*.ipynb anew from their .py sources
	$(BIN)/jupytext --to notebook --update notebooks/openfake_pipeline.py

clean: ## remove the virtual environment and caches; runs/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
