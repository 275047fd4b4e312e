# make train    trains IMPALA on Catch, in seconds; ARGS='--seed=1' adds flags
# make test     checks style and runs the fast tests; ARGS='-k vtrace' selects
# make test-slow  runs the slow tests: kills, learning, whole studies
# make notebooks  executes all notebooks and saves them; ARGS=NAME selects
# make docs     builds the pages of docs/ and the API reference into site/
# make install  only creates the virtual environment .venv, with pinned versions
# make lock     updates the pinned versions from setup.py (needs uv)
# make clean    removes the virtual environment

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal
NUMERICS := targets corrections losses diagnostics rewards theory learner \
  gradient_accumulation optimizer conv max_pool frame_stack distributions
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
LOCK := uv pip compile --quiet --universal --python-version 3.11 --upgrade \
  --no-annotate --no-header setup.py --extra build

.PHONY: install train test test-slow notebooks docs lock clean

install: $(VENV)/.installed

train: install
	$(BIN)/python -m experiments.train --preset=catch $(ARGS)

# Tests compile much and compute little, so XLA optimizes little here.
test: $(VENV)/.tested-with
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	XLA_FLAGS=--xla_backend_optimization_level=0 \
	  $(PYTEST) -m 'not slow' $(ARGS)

# The numerical tests run again, with the optimizations that users have.
test-slow: $(VENV)/.tested-with
	$(PYTEST) -m slow $(ARGS)
	$(PYTEST) -m 'not slow' $(NUMERICS:%=tests/%_test.py)

notebooks: $(VENV)/.tested-with
	$(BIN)/python -m notebooks.build $(ARGS)

docs: $(VENV)/.tested-with
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo The pages are in site/index.html. Their search needs a server:
	@echo $(BIN)/python -m http.server --directory=site

lock:
	$(LOCK) -o requirements.txt
	$(LOCK) --extra dev --extra docs --extra notebooks -c requirements.txt \
	  -o requirements-dev.txt

clean:
	rm -rf $(VENV)

$(VENV)/.installed: requirements.txt setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "error: Python 3.11 or newer is needed; try make PYTHON=python3.13")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt
	$(PIP) --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.tested-with: requirements-dev.txt $(VENV)/.installed
	$(PIP) -r requirements-dev.txt
	touch $@
