# make setup       .venv with Favonius, at the versions of constraints.txt
# make quickstart  the whole method on a small model, end to end
# make smoke       the same in little
# make test        the tests
# make bench       Favonius' training step against TRL's; PAIRS=FILE.jsonl.gz names rows, made up otherwise
# make docs        the documentation as a site, in build/site; dead links end it
# make check       lint, format, types, import floors
# make clean       removes .venv and caches, keeps runs
PYTHON ?= python3
BIN = .venv/bin
READY = .venv/.ready
PIP = $(BIN)/python -m pip install --quiet -c constraints.txt

.PHONY: setup quickstart smoke test bench docs check clean

setup: $(READY)

# torch first and alone: what needs it later finds it there and asks for no other build.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Favonius needs Python 3.11 or newer, and $(PYTHON) is no such; name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
	  exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(PIP) pip
	$(PIP) torch
	$(PIP) -e '.[dev]'
	@touch $@

quickstart: setup
	$(BIN)/favonius run recipes/quickstart.yaml

smoke: setup
	$(BIN)/favonius run recipes/smoke.yaml

# Passive: worker threads that spin while they wait slow down everything else on a small machine.
test: setup
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest

bench: setup
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m benchmarks.suite $(if $(PAIRS),--rows $(PAIRS))

docs: setup
	$(BIN)/mkdocs build --strict

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
