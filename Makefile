# Each target makes its own virtual environment where there is none.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test check format agent clean

demo: $(READY)  ## a generator learned on real images, three FermiNets, a page to open
	scripts/demo $(BIN)/edgesynth runs/demo

test: $(READY)  ## all tests; what this machine lacks is skipped, and named
	$(BIN)/python -m pytest -q

check: $(READY)  ## lint, format, types, and the agent's Python 3.6
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/vermin --no-tips --violations -t=3.6- jetson/edgesynth_agent

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

agent: $(READY)  ## dist/edgesynth-agent.pyz, the one file that goes onto a board
	$(BIN)/python jetson/build_pyz.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf .venv dist
