# The two commands: `make demo` and `make test`. Each first installs what it needs into .venv, once.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# A build of torch that is already in $(VENV) is kept, so a CUDA build can be put there first.
TORCH  ?= torch==2.13.0
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

PATIENCE := It usually takes 2 to 5 minutes; after \"Installing collected packages\", pip prints nothing for up to 2 minutes.

define PREPARE
test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
$(BIN)/python -m pip install --quiet --upgrade pip
$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/python -m pip install $(TORCH)
endef

.PHONY: demo test test-all install setup lint style types pytest pytest-all looks docs wheel clean
demo: install
	$(BIN)/portrait360 make examples/astronaut.png -o out --as mesh,splats,nerf --formats ply,spz --overwrite

# The type checker, which uses one core, works beside the tests: a minute less.
test: setup style
	$(MAKE) --jobs 2 types pytest

lint: style types

style: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup
	$(BIN)/pyright

pytest: setup
	$(PYTEST) -m "not long and not slow and not gpu" --durations 10

# The same, and the tests that take seconds each: about twenty minutes (docs/testing.md).
test-all: setup style
	$(MAKE) --jobs 2 types pytest-all

pytest-all: setup
	$(PYTEST) -m "not slow and not gpu" --durations 10

# Whether heads look worse than those accepted last (benchmarks/looks_accepted.json): about four minutes on two cores.
looks: setup
	$(BIN)/python -m benchmarks.looks

# The docs site, in site/; a broken link or anchor is an error.
docs: setup
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	$(BIN)/python -m mkdocs build --strict

# The wheel as a user gets it: into an empty environment, run from elsewhere.
wheel: setup
	rm -rf dist && $(BIN)/python -m pip wheel --quiet --no-deps -w dist .
	PYTHON=$(PYTHON) TORCH="$(TORCH)" sh tests/wheel.sh dist/portrait360-*.whl

# What users need, with the web app, the viewer and batches.
install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@echo "Installing into $(VENV): about 2 GB (more with CUDA). $(PATIENCE)"
	$(PREPARE)
	$(BIN)/python -m pip install --editable ".[hub,scale,spz,view,web]"
	touch $@

# The same, and what tests and tools need.
setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	@echo "Installing into $(VENV): about 3 GB (more with CUDA). $(PATIENCE)"
	$(PREPARE)
	$(BIN)/python -m pip install --editable ".[dev]"
	touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) out dist site .pytest_cache .ruff_cache .hypothesis
