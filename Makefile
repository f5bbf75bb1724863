# The two commands: `make demo` and `make test`. Both do their own set-up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo site test test-all test-mutations test-clusters test-browser check lint clean
.DELETE_ON_ERROR:

demo: $(VENV)/.runtime
	$(BIN)/elboard sweep quickstart

# The leaderboard of the records that ship with the package and of those in runs/, as pages in site/ that work from disk.
site: $(VENV)/.dev
	$(BIN)/elboard site site

# Tests of one task run in one worker: it reads the data, and trains what others start from, once.
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadgroup -m "not slurm and not ray and not browser and not mutations" tests

# All that `make test` leaves out too.
test-all: test test-mutations test-browser test-clusters

# Breaks the method of each paper in a scratch copy, and sees its test fail.
test-mutations: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m mutations tests/mutations

# Conformance of anybody's methods and tasks: make check WHAT=my_methods
check: $(VENV)/.runtime
	$(BIN)/elboard check $(WHAT)

# On a real Slurm (Debian: slurmctld slurmd slurm-client munge) and a real Ray; each is skipped, with a reason, where it is not installed.
# Daemons that must see each other die within seconds may be late on a busy machine: what failed is tried once more, alone.
test-clusters: $(VENV)/.clusters
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slurm or ray" -rs tests/cluster \
	|| $(BIN)/python -m pytest --last-failed --last-failed-no-failures none -rs tests/cluster

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
