# Two commands do everything on a fresh machine with python3 and make: `make demo` and `make test`.
# Only relative paths are used, so that the checkout may lie in a folder with a space in its name.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help env demo test lint types tests format clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

env: $(STAMP) ## make .venv with the exact versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $(STAMP)

demo: env ## the whole route, at real size, on real reports and simulated films
	$(BIN)/python -m cxremb demo

test: lint types tests ## all that CI runs

lint: env
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: env
	$(BIN)/python -m mypy

tests: env
	$(BIN)/python -m pytest

format: env ## rewrite the code in its own style
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

clean: ## remove the environment and the caches, never a store
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
