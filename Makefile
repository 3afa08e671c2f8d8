# Every target makes what it needs: `make demo` and `make test` work in a fresh clone.
# The newest supported Python that is at hand; `make setup PYTHON=/path/to/python` takes another one.
PYTHON ?= $(shell for v in 14 13 12 11; do python3.$$v -c "" 2>/dev/null && echo python3.$$v && break; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check browser oldest lint types docs pictures wheel app notebook clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

setup: $(INSTALLED) ## make .venv with everything pinned in constraints.txt

$(INSTALLED): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ] && command -v uv >/dev/null; then \
		uv venv --quiet --seed --allow-existing --python '>=3.11,<3.15' $(VENV); \
	elif [ -z "$(PYTHON)" ]; then \
		echo "fakelens needs Python 3.11 to 3.14: install one (Ubuntu, Debian: apt-get install python3 python3-venv), install uv,"; \
		echo "or say 'make setup PYTHON=/path/to/python'"; exit 1; \
	else \
		$(PYTHON) -m venv $(VENV) || { echo "this Python cannot make environments: apt-get install python3-venv"; exit 1; }; \
	fi
	@echo "Installing PyTorch and $$(grep -c == constraints.txt) more packages into $(VENV), about 2 GB: once, some minutes"
	$(BIN)/python -m pip install --quiet --upgrade pip
	# torch first and alone: what comes after is then satisfied by it.
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	@echo "PyTorch is there; now the others"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[train,app,cluster,dev,docs]'
	touch $@

demo: setup ## the whole pipeline on synthetic pictures, four to six minutes on two cores
	$(BIN)/fakelens run --recipe demo

test: setup ## all tests, offline, in two processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

check: lint types ## lint, types and the fast tests
	$(BIN)/python -m pytest -m "not slow and not browser"

browser: setup ## the tests that need a Chromium
	$(BIN)/python -m pytest -m browser

oldest: ## the fast tests with the lower bounds of pyproject.toml, in an environment of their own; needs uv
	uv lock --check
	uv venv --quiet --allow-existing --python 3.11 $(VENV)-oldest
	uv pip install --quiet --python $(VENV)-oldest --resolution lowest-direct -e '.[train,app,dev,hub]'
	$(VENV)-oldest/bin/python -m pytest -m "not slow and not browser"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Benchmarks keep to the names and parameters of src; how they type what is their own is up to them.
LOOSE := arg-type assignment call-overload dict-item import-not-found import-untyped index misc no-untyped-call \
	return-value type-arg var-annotated

types: setup
	$(BIN)/mypy
	$(BIN)/mypy $(addprefix --disable-error-code=,$(LOOSE)) benchmarks

docs: setup ## build the documentation into site/, warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "Open site/index.html, or for its search: $(BIN)/mkdocs serve"

pictures: demo ## photograph app and report for the documentation anew
	$(BIN)/python benchmarks/pictures.py runs/demo

wheel: setup ## build wheel and sdist, and judge with the wheel alone in an environment without torch
	rm -rf dist
	$(BIN)/fakelens run --recipe smoke --detectors custom_cnn --workdir dist/run
	$(BIN)/python -m venv dist/env
	dist/env/bin/python -m pip install --quiet build
	dist/env/bin/python -m build --outdir dist .
	dist/env/bin/python -m pip install --quiet -c constraints.txt dist/*.whl
	dist/env/bin/fakelens predict dist/run/bundle/examples --bundle dist/run/bundle
	! dist/env/bin/python -c "import torch" 2>/dev/null

app: setup ## start the app of the newest bundle
	$(BIN)/fakelens app

notebook: setup ## install JupyterLab and open the notebook in it
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[notebook]'
	$(BIN)/jupyter lab notebooks/openfake_pipeline.ipynb

clean: ## remove the virtual environment and caches; runs/ stays
	rm -rf $(VENV) $(VENV)-oldest .mypy_cache .ruff_cache .pytest_cache .hypothesis
