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
	PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet -c constraints.txt -e ".[torch,data,explore,cluster,test]"
	touch $@

demo: $(VENV)/ready
	$(BIN)/addersim demo

test: $(VENV)/ready
	$(BIN)/python -m pytest

slow: $(VENV)/ready
	$(BIN)/python -m pytest -m slow

# The extra "lint" alone: the package is installed already, and its compiled module need not be built again.
LINTERS := $$($(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['lint'])")

$(VENV)/linters: $(VENV)/ready
	$(BIN)/pip install --quiet -c constraints.txt $(LINTERS)
	touch $@

lint: $(VENV)/linters
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tests/complexity.py
	mkdir -p $(VENV)/user && cp tests/typing/user.py $(VENV)/user/
	cd $(VENV)/user && ../bin/mypy --strict --config-file= user.py && ../bin/basedpyright --pythonpath ../bin/python --level error user.py

bench: $(VENV)/ready
	$(BIN)/python benchmarks/bench.py

reports: $(VENV)/ready
	$(BIN)/addersim report lenet5-fashion --out reports/lenet5-fashion --threads 2
	$(BIN)/python reports/validation/run.py

clean:
	rm -rf $(VENV) build dist *.egg-info addersim/kernels/_native*.so
