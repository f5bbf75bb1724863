# The two commands: `make demo` and `make test`. Both do their own set-up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo site test test-clusters test-browser lint clean
.DELETE_ON_ERROR:

demo: $(VENV)/.runtime
	$(BIN)/elboard sweep quickstart

# The leaderboard of the records that ship with the package and of those in runs/, as pages in site/ that work from disk.
site: $(VENV)/.dev
	$(BIN)/elboard site site

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m "not slurm and not ray and not browser" tests

# On a real Slurm (Debian: slurmctld slurmd slurm-client munge) and a real Ray; each is skipped, with a reason, where it is not installed.
test-clusters: $(VENV)/.clusters
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slurm or ray" -rs tests/cluster

# In a real browser (Debian: chromium); skipped, with a reason, where it is not installed.
test-browser: $(VENV)/.browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m browser -rs tests/browser

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# torch alone and first: where a CPU wheel is at hand, nothing later may replace it.
$(VENV)/.runtime: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("ELBOard needs Python 3.11 or newer; set PYTHON=..." if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing (torch first)"
	@$(PIP) torch==2.13.0
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@$(PIP) --editable '.[dev]'
	@touch $@

$(VENV)/.clusters: $(VENV)/.dev
	@$(PIP) --editable '.[dev,ray]'
	@touch $@

$(VENV)/.browser: $(VENV)/.dev
	@$(PIP) --editable '.[dev,browser]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache
