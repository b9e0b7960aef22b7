# Two commands do everything on a fresh machine with Python 3.11: `make quickstart`, `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

# What takes long: `make bench` leaves it out.
LONG := benchmarks/data_scaling.py benchmarks/soak_trials.py

.PHONY: install browser quickstart test lint bench bench-scaling soak clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[elpv,lite,timm,test]'
	touch $@

quickstart: install
	$(BIN)/mcl-bench sweep experiments/quickstart.yaml

# The tests open pages in a real browser: CHROMIUM, or Debian's package, installed if it can be.
browser:
	@test -n "$$CHROMIUM" || command -v chromium > /dev/null || { \
		sudo=""; test "$$(id -u)" = 0 || sudo="sudo -n"; \
		echo "installing chromium"; export DEBIAN_FRONTEND=noninteractive; \
		$$sudo apt-get -qq update && \
		$$sudo apt-get -qq install -y --no-install-recommends chromium > /dev/null; } || { \
		echo "the tests need chromium: install it, or set CHROMIUM to its path" >&2; exit 1; }

test: install browser
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not soak"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[elpv,lite,timm,test,bench]'
	touch $@

bench: $(VENV)/.bench browser
	@status=0; for script in $(filter-out $(LONG),$(wildcard benchmarks/*.py)); do \
		echo "== $$script"; $(BIN)/python $$script || status=1; done; exit $$status

bench-scaling: install
	$(BIN)/python benchmarks/data_scaling.py

soak: install browser
	$(BIN)/python -m pytest -m soak -s

clean:
	rm -rf $(VENV) runs
