# Everything a newcomer types. Each target sets up what it needs first; `make` alone says what there is.

VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help setup demo test lint bench docs notebook clean
.DEFAULT_GOAL := help

help:
	@echo "make demo      set everything up, then prove the course's text on a live cluster"
	@echo "make test      set everything up, then the whole test suite"
	@echo "make lint      ruff and mypy"
	@echo "make bench     measure, side by side with peers"
	@echo "make docs      check links and examples of the documentation"
	@echo "make notebook  JupyterLab on the notebooks"

setup: $(STAMP)

$(STAMP): pyproject.toml scripts/setup
	scripts/setup "$(PYTHON)" "$(VENV)" test
	@touch $@

demo: setup
	$(BIN)/minik8s demo

test: setup
	scripts/test $(BIN) $(TESTS)

lint: setup
	$(BIN)/ruff check minik8s_net tests labs benchmarks
	$(BIN)/ruff format --check -q minik8s_net tests labs benchmarks
	$(BIN)/mypy

# The peers that we measure beside; without them (no root) the benchmarks that need one say so.
bench: setup
	[ "$$(id -u)" != 0 ] || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		mininet bridge-utils dnsmasq-base dnsperf iperf3 >/dev/null
	failed=; for file in benchmarks/[a-z]*.py; do name=$$(basename $$file .py); echo "== $$name"; \
		$(BIN)/python -m benchmarks.$$name || failed="$$failed $$name"; done; \
		[ -z "$$failed" ] || { echo "did not finish:$$failed" >&2; exit 1; }

docs: setup
	$(BIN)/pytest -q tests/docs

notebook: setup
	$(BIN)/pip install -q -e '.[notebook]'
	$(BIN)/minik8s lab ui

clean:
	rm -rf $(VENV) build dist *.egg-info
