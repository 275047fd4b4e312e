# make train    trains IMPALA on Catch, in a minute; ARGS='--seed=1' adds flags
# make test     checks style and runs the tests
# make install  builds the environment, .venv, alone: exact versions
# make lock     renews those versions, requirements.txt, from setup.py (needs uv)
# make clean    removes the environment

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install train test lock clean

install: $(VENV)/.installed

train: install
	$(BIN)/python -m experiments.train --preset=catch $(ARGS)

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest $(ARGS)

lock:
	uv pip compile --quiet --universal --python-version 3.11 --upgrade \
	  --extra dev --no-annotate --no-header setup.py -o requirements.txt

clean:
	rm -rf $(VENV)

$(VENV)/.installed: requirements.txt setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "error: Python 3.11 or newer is needed; try make PYTHON=python3.13")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --no-build-isolation -e .
	touch $@
