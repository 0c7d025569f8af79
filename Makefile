# make demo   the whole flow on synthetic films         make test   all tests
# make device-test-arm64   device_tests with ARM64's instructions, emulated (docs/device_tests.md)
# Both create .venv first, once; either can be the first. Nothing is installed again while setup.cfg and constraints.txt stay.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# What is tested in the emulator, on which processor, and options of device_tests/arm64.py.
ARM64_BUNDLE := runs/arm64/bundle
ARM64_ARTIFACTS := onnxruntime-fp32, onnxruntime-int8, onnxruntime-int8-arm64, openvino-fp32, openvino-int8
BUNDLES ?= $(patsubst %/bundle.json,%,$(wildcard exported/*/bundle.json)) $(ARM64_BUNDLE)
CPU ?= max
ARM64_OPTIONS ?=

.PHONY: demo test lint clean device-test-arm64

demo: $(STAMP)
	$(BIN)/cxr-edge compress recipes/demo.yaml --out runs/demo

# A worker a core, so torch has one thread in each.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

device-test-arm64: $(STAMP) $(filter $(ARM64_BUNDLE),$(BUNDLES))
	$(BIN)/python -m device_tests.arm64 --cpu $(CPU) $(addprefix --bundle ,$(BUNDLES)) $(ARM64_OPTIONS)

# Synthetic films; the exported bundles hold no int8 in the form for ARM64.
$(ARM64_BUNDLE): | $(STAMP)
	$(BIN)/cxr-edge compress recipes/demo.yaml --out $(@D) --set 'export.artifacts=[$(ARM64_ARTIFACTS)]'

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
