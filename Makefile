# Each target makes its own virtual environment where there is none.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# Besides the one above; each has its pins in tests/agent/requirements.
AGENT_PYTHONS := 3.6 3.8 3.10

.PHONY: demo test test-agent test-agent-pythons test-device soak-agent soak-device check format agent clean

demo: $(READY)  ## a generator learned on real images, three FermiNets, a page to open
	scripts/demo $(BIN)/edgesynth runs/demo

test: $(READY)  ## all tests; what this machine lacks is skipped, and named
	$(BIN)/python -m pytest -q

test-agent: $(READY) test-agent-pythons  ## the agent's tests alone, its fuzzing and its soak run in small
	$(BIN)/python -m pytest -q tests/agent tests/agent_current tests/devices

test-agent-pythons: $(AGENT_PYTHONS:%=test-agent-%)  ## tests/agent under the older Pythons that the agent speaks

test-agent-%:
	scripts/test-agent-under $*

test-device: $(READY)  ## virtual boards that boot: as root on Linux
	$(BIN)/python -m pytest -q tests/virtual_device tests/deploy

soak-agent: $(READY)  ## the same in full: 100,000 requests, 5,000 jobs with kills; some hours
	EDGESYNTH_API_REQUESTS=100000 EDGESYNTH_SOAK_JOBS=5000 EDGESYNTH_STORE_KILLS=200 \
	    $(BIN)/python -m pytest -q -s tests/agent/test_raw_sockets.py tests/agent/test_job_store.py tests/agent/soak

soak-device: $(READY)  ## every fault in every state of a deploy, and 100 deploys rolled back; an hour
	EDGESYNTH_FAULT_CELLS=all EDGESYNTH_DEPLOY_CYCLES=100 \
	    $(BIN)/python -m pytest -q -s tests/deploy/test_fault_matrix.py tests/deploy/test_cycles.py

check: $(READY)  ## lint, format, types, and the agent's Python 3.6
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/vermin --no-tips --violations -t=3.6- jetson tests/agent tests/needs.py

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
	rm -rf .venv .venv-agent dist
