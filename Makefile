# The two commands of a newcomer: `make repro` and `make test`. Set-up is implied and happens once.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
unexport PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help setup repro flow test check bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## the environment and the folders; every other target implies it

repro: $(READY) ## sync, reproduce the pipeline, promote, print the result
	@python -m tidegate repro

flow: $(READY) ## the same through Prefect, independent stages at once
	@python -m tidegate flow

test: $(READY) ## all tests
	@python -m pytest

check: $(READY) ## style and types
	@ruff check . && ruff format --check . && mypy

bench: $(READY) ## timings against what one would pick instead; needs `make repro` first
	@for file in benchmarks/*.py; do python $$file || exit 1; done

lock: $(READY) ## requirements.lock anew from pyproject.toml; torch brings its own pins of CUDA packages
	@uv pip compile --quiet --universal --python-version 3.11 --extra dev --no-header --annotation-style line \
	    pyproject.toml | grep -vE '^(nvidia-|cuda-|triton)' > requirements.lock.new
	@mv requirements.lock.new requirements.lock

clean: ## the pipeline's files and the tools' caches; spares var/, data/raw/, DVC's cache and .venv/
	@find data -mindepth 1 -maxdepth 1 ! -name raw ! -name '*.dvc' ! -name .gitignore -exec rm -rf {} +
	@rm -rf .mypy_cache .ruff_cache .pytest_cache src/*.egg-info
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "tidegate needs Python 3.11 or later; name one: make PYTHON=python3.12 ..." >&2; exit 2; }
	@echo "setting up $(VENV) (once; some minutes, about 3 GB)"
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@test -x $(VENV)/bin/uv || $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	@uv pip install --quiet --compile-bytecode $(addprefix --find-links ,$(PIP_FIND_LINKS)) -r requirements.lock
	@uv pip install --quiet --no-deps --no-build-isolation --editable .
	@mkdir -p data/raw var
	@touch $@
