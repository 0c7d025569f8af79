# make demo   the whole flow on synthetic films         make test   all tests
# Both create .venv first, once; either can be the first. Nothing is installed again while setup.cfg and constraints.txt stay.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint clean

demo: $(STAMP)
	$(BIN)/cxr-edge compress recipes/demo.yaml --out runs/demo

test: lint
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The wheelhouse holds the clinic's base install, so that the tests need no network.
$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit('Python 3.11 or newer is needed, this is ' + sys.version.split()[0]) if sys.version_info < (3, 11) else None"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt setuptools wheel
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	rm -rf $(VENV)/wheelhouse
	$(BIN)/python -m pip download --quiet --constraint constraints.txt --no-build-isolation --dest $(VENV)/wheelhouse .
	touch $(STAMP)

clean:
	rm -rf $(VENV) runs build *.egg-info
