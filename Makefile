# Two commands do everything on a fresh machine with python3 and make: `make demo` and `make test`.
# Only relative paths are used, so that the checkout may lie in a folder with a space in its name.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -c constraints.txt
DEMO := .venv/.demo
DEV := .venv/.dev
# What torch, oneDNN and this package may use of a processor: what most laptops and hosted runners have.
AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2
# Tests on several cores: what is made for a file is made once, and no process takes the cores of the others.
SPREAD := OMP_NUM_THREADS=1

.PHONY: help env demo docs bench test test-slow test-avx2 lint types tests wheels chaos fuzz release audit-dependencies format gpu clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 11

env: $(DEV) ## make .venv with the exact versions of constraints.txt

.venv/bin/python:
	$(PYTHON) -m venv .venv

$(DEMO): .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e ".[demo]"
	@touch $(DEMO)

$(DEV): .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e ".[dev]"
	@touch $(DEMO) $(DEV)

demo: $(DEMO) ## the whole route, on 1,000 real reports and simulated films; installs only what it needs
	$(BIN)/python -m cxremb demo

test: lint types tests ## lint, types and the quick tests

docs: env ## the site of the documents, in site/: open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lint: env
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: env
	$(BIN)/python -m mypy

tests: env
	$(SPREAD) $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not slow"

test-slow: env ## the tests that start a browser or many processes, build a wheel or run what the documents say
	$(SPREAD) $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m slow

test-avx2: env ## the tests of arithmetic once more, as on a processor without wide and half-precision instructions
	$(AVX2) $(BIN)/python -m pytest -m "arithmetic and not slow"

wheels: env ## whether every package that is installed is there as a wheel, for this machine
	$(BIN)/python .ci/wheels.py

chaos: env ## kill, stop, starve and pair every command of the route; under an hour
	$(SPREAD) $(BIN)/python benchmarks/chaos.py --out benchmarks/results/chaos.json

# Tools of a release have an environment of their own: nothing that they need is needed by cxremb.
TOOLS := .venv/tools

$(TOOLS)/bin/pip-audit: .venv/bin/python
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --only-binary :all: cyclonedx-bom==7.5.0 pip-audit==2.10.1

release: env $(TOOLS)/bin/pip-audit ## dist/: the wheel, built twice to the same bytes, its sum, and a CycloneDX file
	$(BIN)/python .ci/release.py $(TOOLS)/bin/cyclonedx-py

audit-dependencies: $(TOOLS)/bin/pip-audit ## known weaknesses of the versions in constraints.txt; asks PyPI
	$(TOOLS)/bin/pip-audit --strict --disable-pip --no-deps -r constraints.txt

FUZZ := .venv/.fuzz
MINUTES ?= 10

$(FUZZ): $(DEV)
	$(PIP) -e ".[fuzz]"
	@touch $(FUZZ)

fuzz: $(FUZZ) ## inputs that reach new branches, for all that reads files from elsewhere; MINUTES=10 for each of 12
	$(SPREAD) $(BIN)/python benchmarks/fuzz.py --minutes $(MINUTES) --keep .fuzz --out benchmarks/results/fuzz.json

format: env ## rewrite the code in its own style
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

gpu: ## check and time all that runs on a GPU: no environment, no network; PYTHON=, WHEELS=folder, RESULTS=file
	$(PYTHON) benchmarks/gpu.py $(if $(WHEELS),--wheels "$(WHEELS)") $(if $(RESULTS),--out "$(RESULTS)")

# What `make bench` runs: comparisons that take about ten minutes together on two quiet cores.
BENCH := .bench
bench: env ## compare with what others use, in ten minutes: tables in .bench/README.md; rivals: pip install -e ".[bench]"
	mkdir -p $(BENCH)
	$(BIN)/python benchmarks/vector_types.py --rows 10240 --rounds 2 --out $(BENCH)/vector_types.json
	$(BIN)/python benchmarks/stores.py --rows 5000 --rounds 3 --out $(BENCH)/stores.json
	$(BIN)/python benchmarks/embed_films.py --films 12 --long 300 --rounds 2 --out $(BENCH)/embed_films.json
	$(BIN)/python benchmarks/embed_images.py --films 32 --rounds 2 --out $(BENCH)/embed_images.json
	$(BIN)/python benchmarks/embed_texts.py --texts 32 --rounds 2 --out $(BENCH)/embed_texts.json
	$(BIN)/python benchmarks/heads.py --quick --out $(BENCH)/heads.json
	$(BIN)/python benchmarks/bootstrap.py --rows 2000 --rounds 2 --out $(BENCH)/bootstrap.json
	$(BIN)/python benchmarks/command_line.py --rounds 5 --out $(BENCH)/command_line.json
	$(BIN)/python benchmarks/readme.py --results $(BENCH) --out $(BENCH)/README.md

clean: ## remove the environment and the caches, never a store
	rm -rf .venv site .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
