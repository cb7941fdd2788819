# make demo: the main job. make test: the tests. Both set everything up in .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# An index that serves CPU-only torch, if the default one does not: see README.md.
TORCH_INDEX ?=

.PHONY: demo test slow lint bench reports clean
.DEFAULT_GOAL := demo

$(VENV)/ready: pyproject.toml setup.py constraints.txt $(wildcard ext/*)
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/pip install --quiet --index-url $(TORCH_INDEX) -c constraints.txt torch)
	PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet -c constraints.txt -e ".[torch,data,explore,cluster,test,lint]"
	touch $@

demo: $(VENV)/ready
	$(BIN)/addersim demo

test: $(VENV)/ready
	$(BIN)/python -m pytest

slow: $(VENV)/ready
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/ready
	$(BIN)/python benchmarks/bench.py

reports: $(VENV)/ready
	$(BIN)/addersim report lenet5-fashion --out reports/lenet5-fashion --threads 2
	$(BIN)/python reports/validation/run.py

clean:
	rm -rf $(VENV) build dist *.egg-info addersim/kernels/_native*.so
