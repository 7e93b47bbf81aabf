# make demo    train, verify, price and export a small spiking net on real digits; needs no environment
# make test    the tests; also: test-oldest, lint, docs, bench, wheel, clean
#
# PYTHON=python3.12        the Python (3.10 or newer) that environments are made with
# USE_SYSTEM_TORCH=1       take the torch of that Python (a CUDA build, say) instead of the pinned one
# PYTEST_ARGS="-k native"  what pytest gets besides the configuration

PYTHON ?= python3
PYTEST_ARGS ?= -n 2 --dist loadgroup

ifdef USE_SYSTEM_TORCH
VENV := .venv-system-torch
VENV_FLAGS := --system-site-packages
else
VENV := .venv
CONSTRAINTS := -c constraints.txt
endif

BIN := $(VENV)/bin
BUILD_FILES := pyproject.toml constraints.txt CMakeLists.txt \
	$(wildcard synfire/kernels/native/*.cpp synfire/kernels/native/*.h)

# pip takes half the time when it compiles no byte code; Python then does so for what is really imported.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check $(CONSTRAINTS)
unexport PYTHONDONTWRITEBYTECODE

# Threads that spin while they wait bring a busy machine almost to a halt: ten times slower was seen.
export OMP_WAIT_POLICY ?= passive

.PHONY: demo test test-oldest lint docs bench wheel clean

demo: $(VENV)/.train
	$(BIN)/synfire pipeline --recipe digits --out runs/demo --overwrite

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

# The oldest supported Python and torch (that torch brings several GB of CUDA packages); not part of CI.
OLDEST_PYTHON ?= python3.10
test-oldest:
	$(OLDEST_PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet torch==2.7.1 numpy safetensors pytest hypothesis scikit-learn
	OMP_NUM_THREADS=1 PYTHONPATH=. .venv-oldest/bin/python -m pytest -q -W ignore tests/core tests/kernels \
		tests/neurons tests/encoders tests/layers tests/backbones tests/export

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir site

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.page

wheel: $(VENV)/.dev
	$(BIN)/python tools/build_wheel.py

clean:
	rm -rf .venv .venv-system-torch .venv-oldest build dist site

$(VENV)/.made:
	$(PYTHON) tools/check_python.py $(if $(USE_SYSTEM_TORCH),torch)
	$(PYTHON) -m venv $(VENV_FLAGS) $(VENV)
	@touch $@

$(VENV)/.train: $(VENV)/.made $(BUILD_FILES)
	@echo "Installing synfire and what training needs into $(VENV) (a minute, once) ..."
	$(PIP_INSTALL) -e ".[train]"
	@touch $@

$(VENV)/.dev: $(VENV)/.made $(BUILD_FILES)
	@echo "Installing synfire and what tests need into $(VENV) (a minute, once) ..."
	$(PIP_INSTALL) -e ".[train,dev]"
	@touch $@ $(VENV)/.train
