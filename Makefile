# Two commands set everything up on a fresh machine: `make build-repo`, `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two test processes at once, whole files to each, in the order of tests/conftest.py; TESTS= runs
# them one after another.
TESTS ?= -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: build-repo test test-fast test-campaign bench lint serve clean

build-repo: $(READY)
	$(BIN)/triton-builder build

test: $(READY) lint test-fast
	$(BIN)/python -m pytest $(TESTS) -m "(live or export or slow) and not campaign"

test-fast: $(READY)
	$(BIN)/python -m pytest $(TESTS) -m "not (live or export or slow or campaign)"

# Hundreds of kills and races; what `make test` does a short cut of.
test-campaign: $(READY)
	$(BIN)/python -m pytest -m campaign

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m tests.benchmarks

serve: build-repo
	$(BIN)/triton-builder serve

# The versions are those of constraints.txt; torch comes from wherever pip is configured to
# find it (its CPU build is enough, and smaller).
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v not in ((3, 11), (3, 12)) and f"Python 3.11 or 3.12 is needed, found {v[0]}.{v[1]}: make PYTHON=python3.11")'
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[models,dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) repository
