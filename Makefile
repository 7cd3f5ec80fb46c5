# GNU make. Every target sets up .venv first; the stamp file keeps that from being done twice.
PYTHON ?= python3
JOBS ?= 2
JSON ?= benchmark.json
BIN := .venv/bin
READY := .venv/.ready

# Linux alone has two builds: the one of the package index brings 6 GB of CUDA, the other has an index of its own.
NO_GPU = [ "$$(uname -s)" = Linux ] && ! nvidia-smi -L >/dev/null 2>&1
CPU_BUILD = UV_HTTP_TIMEOUT=8 UV_HTTP_RETRIES=0 $(BIN)/uv pip install --dry-run --python $(BIN)/python \
  --torch-backend cpu -c constraints.txt torch torchvision

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help app test bench bench-compare gpu lint screenshots soak

help:
	@echo "make app          set up and open the dashboard (ARGS=\"--headless\" passes options on)"
	@echo "make test         set up and run all tests (JOBS=$(JOBS) processes)"
	@echo "make bench        set up, print the speed tables and keep the figures of growth in $(JSON)"
	@echo "make bench-compare A=old.json B=new.json   name what got slower between two runs"
	@echo "make gpu          set up and test and time on a CUDA card, nothing to download"
	@echo "make soak         set up and try the dashboard under load and hostile input, about 20 minutes"
	@echo "make lint         set up and check style"
	@echo "make screenshots  set up and photograph every page"

app: $(READY)
	@$(BIN)/clip-theatre app $(ARGS)

test: $(READY)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

bench: $(READY)
	@$(BIN)/python -m tests.benchmarks
	@$(BIN)/python -m tests.benchmarks.growth --json $(JSON)

bench-compare: $(READY)
	@$(BIN)/python -m tests.benchmarks.compare $(A) $(B)

gpu: $(READY)
	@$(BIN)/python -m pytest -m gpu tests/gpu
	@$(BIN)/python -m tests.benchmarks --device cuda --no-browser
	@$(BIN)/python -m tests.benchmarks.growth --device cuda --json $(JSON)

soak: $(READY)
	@$(BIN)/python -m tests.soak $(ARGS)

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

screenshots: $(READY)
	@$(BIN)/python -m tests.browser.screenshots

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "CLIP Theatre needs Python 3.11 or newer, but $(PYTHON) is: $$($(PYTHON) --version 2>&1)" >&2; \
	  echo "Name another one, for example: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "Making .venv"; $(PYTHON) -m venv .venv; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	@backend="$${UV_TORCH_BACKEND:-}"; \
	  if [ -z "$$backend" ] && $(NO_GPU) && $(CPU_BUILD) >/dev/null 2>&1; then backend=cpu; fi; \
	  if [ "$$backend" = cpu ]; then \
	    echo "Installing the dependencies, with PyTorch for the CPU; for a GPU: rm -r .venv, then UV_TORCH_BACKEND=auto make"; \
	  else echo "Installing the dependencies (PyTorch is large: minutes on a slow line)"; fi; \
	  $(BIN)/uv pip install --python $(BIN)/python $${backend:+--torch-backend $$backend} \
	    -c constraints.txt -b constraints.txt -e ".[test]"
	@touch $@
