# Every target sets itself up: Python 3.11 or newer with pip, make and git are all that a machine needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# No compiler is expected: a dependency without a wheel for this machine is an error at once.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
WHEELS_ONLY := --only-binary=:all:
# The build requirements, and editables, which hatchling asks for in editable installs, are kept: `make proto` and the
# packaging tests need no network.
KEPT := $(VENV)/build-wheels
PRINT_BUILD_REQUIRES := import tomllib; \
  print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")
PROTOS := $(wildcard proto/holdfast/v1/*.proto)

.PHONY: help demo run test soak bench lint proto azurite clean

help:
	@echo "make demo   a guided tour: a daemon in a temporary directory, data in, a snapshot, a restore"
	@echo "make run    holdfastd in ./holdfast-data, until Ctrl-C"
	@echo "make test   lint, types and every test"
	@echo "make soak   for an hour or so: more power cuts, kills and random commands than make test has time for"
	@echo "make bench  the benchmarks"
	@echo "make lint   ruff and mypy"
	@echo "make azurite  Azure's emulator from npm, where there is Node.js: tests of az:// are skipped without it"
	@echo "make proto  the Python stubs again, after a change under proto/"
	@echo "make clean  remove what the targets made; ./holdfast-data stays"

demo: $(INSTALLED)
	$(BIN)/python examples/demo.py

run: $(INSTALLED)
	@mkdir -p -m 0700 holdfast-data
	$(BIN)/holdfastd --data-dir holdfast-data --socket holdfast-data/holdfast.sock

# One run tells everything: each check runs whatever the one before has found, and any of them fails the target.
LINT = $(BIN)/ruff check . || failed=1; $(BIN)/ruff format --check . || failed=1; $(BIN)/mypy || failed=1

# Tests start hundreds of programs: each would compile all its modules where the environment forbids to keep them.
test soak: export PYTHONDONTWRITEBYTECODE :=

# Lint runs beside the tests: on its own it would leave all processors but one idle.
test: $(INSTALLED)
	@{ failed=0; $(LINT); exit $$failed; } >$(VENV)/lint.log 2>&1 & lint=$$!; failed=0; \
	  $(BIN)/python -m pytest -n auto --dist loadgroup $(PYTEST_ARGS) || failed=1; \
	  wait $$lint || failed=1; cat $(VENV)/lint.log; exit $$failed

# Other random commands in every run, other lives than those of `make test`; SOAK_MINUTES for each sync mode.
SOAK_MINUTES ?= 15
SOAK := HOLDFAST_STATE_EXAMPLES=2000 HOLDFAST_STATE_STEPS=80 HOLDFAST_KILL9_SECONDS=$$(($(SOAK_MINUTES) * 60)) \
  HOLDFAST_ENGINE_CRASH_SEEDS=20 HOLDFAST_CRASH_AGAIN=0.05 HOLDFAST_CRASH_SEEDS=100 HOLDFAST_CRASH_EVERY=1 \
  HOLDFAST_CRASH_KILLS=1 HOLDFAST_HISTORIES=4000 HOLDFAST_HISTORY_STEPS=60

soak: $(INSTALLED)
	$(SOAK) $(BIN)/python -m pytest -n auto -o faulthandler_timeout=0 tests/e2e/test_kill9.py \
	  tests/engine/test_state_machine.py tests/engine/test_chronicles.py tests/crash $(PYTEST_ARGS)

bench: $(INSTALLED)
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

lint: $(INSTALLED)
	@failed=0; $(LINT); exit $$failed

# An editable install generates the stubs; a second one, without dependencies, does only that.
proto: $(INSTALLED)
	$(PIP) install --no-index --find-links $(KEPT) --no-deps --editable .

# Not a part of the environment: Node.js is nothing that a machine needs for anything else here.
AZURITE := azurite@3.37.0

azurite: $(INSTALLED)
	npm install --prefix $(VENV)/azurite --no-audit --no-fund --loglevel=error $(AZURITE)

clean:
	rm -rf $(VENV) client/holdfast/v1 client/holdfast/.v1-* dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find $(wildcard client server tests proto examples benchmarks) -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml proto/hatch_build.py $(PROTOS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed, $(PYTHON) is older or missing"; \
	    echo "hint: make PYTHON=python3.12 ..."; exit 1; } >&2
	@echo "setting up $(VENV)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(MAKE) --no-print-directory $(VENV)
	@$(BIN)/python -c '$(PRINT_BUILD_REQUIRES)' >$(VENV)/build-requires.txt
	@rm -rf $(KEPT)
	@$(PIP) download $(WHEELS_ONLY) --dest $(KEPT) --requirement $(VENV)/build-requires.txt editables
	@$(PIP) install $(WHEELS_ONLY) --find-links $(KEPT) --editable '.[server,objects,dev]'
	@touch $@

# Debian's python3 comes without ensurepip; there the machine's own pip brings pip into the environment.
.PHONY: $(VENV)
$(VENV):
	@rm -rf $(VENV)
	@if $(PYTHON) -c 'import ensurepip; ensurepip.version()' 2>/dev/null; then $(PYTHON) -m venv $(VENV); else \
	  $(PYTHON) -m venv --without-pip $(VENV) && \
	  { $(PYTHON) -m pip --version >/dev/null 2>&1 && set -- $(PYTHON) -m pip || set -- pip; } && \
	  "$$@" --python $(BIN)/python --quiet install $(WHEELS_ONLY) pip; fi
