# The two commands: `make demo` and `make test`. Both set up .venv first, once.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# A build of torch that is already in $(VENV) is kept, so a CUDA build can be put there first.
TORCH  ?= torch==2.13.0

.PHONY: demo test setup lint clean
demo: setup
	$(BIN)/portrait360 doctor
	$(BIN)/portrait360 proxy examples/astronaut.png -o out
	$(BIN)/portrait360 fit out --quick
	$(BIN)/portrait360 export out

test: setup lint
	$(BIN)/python -m pytest -n 2 -m "not slow and not gpu"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) out .pytest_cache .ruff_cache .hypothesis
