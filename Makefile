# make demo: train a sampler and an MAE on the demo data.   make test: everything that CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo probe-demo finetune-demo compare-demo study-games soak fuzz mutation docs test clean

demo: $(VENV)/.installed
	$(BIN)/python scripts/train_ppo.py --env TatsMask-demo-v0

# Compares features before and after pre-training on the demo data. Hours; continues after a stop.
probe-demo: $(VENV)/.installed
	$(BIN)/python scripts/probe_demo.py

# Fine-tunes on the demo's motions, from a pre-trained encoder and from scratch. Hours; continues after a stop.
finetune-demo: $(VENV)/.installed
	$(BIN)/python scripts/finetune_demo.py

# Compares six agents on the demo data, five seeds each. Hours on two cores; continues after a stop.
compare-demo: $(VENV)/.installed
	$(BIN)/python scripts/compare_agents.py

# Compares masks by the coordinates in games that encoders know, at two visible shares. Half a day on two cores;
# continues after a stop.
study-games: $(VENV)/.installed
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[atari]'
	$(BIN)/python scripts/study.py games-05
	$(BIN)/python scripts/study.py games-10

# Kills trainings and resumes them; trains for two hours while files break and processes die.
soak: $(VENV)/.installed-test
	$(BIN)/python -m tests.soak.kills --out benchmarks/results/kills.json
	$(BIN)/python -m tests.soak.kills --workers 2 --kills 15 --seed 1 --out benchmarks/results/kills_workers.json
	$(BIN)/python -m tests.soak.kills --agent sac --kills 15 --seed 2 --out benchmarks/results/kills_sac.json
	$(BIN)/python -m tests.soak --out benchmarks/results/soak.json

# Feeds forty thousand damaged files and settings to every reader. A minute or two; faulty inputs go to build/fuzz.
fuzz: $(VENV)/.installed-test
	$(BIN)/python -m tests.fuzz --out benchmarks/results/fuzz.json

# Mutates the method's core, one small change at a time, and prints those that no test notices. An hour or more.
mutation: $(VENV)/.installed-test
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[mutation]'
	$(BIN)/python -m tests.mutation --out benchmarks/results/mutation.json

# Builds the documentation as a site: site/index.html.
docs: $(VENV)/.installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

test: $(VENV)/.installed-test
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu"

# uv resolves the CUDA builds of torch and torchvision together, in seconds; the pip line is the way without it.
$(VENV)/bin/uv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable .
	touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[test]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) runs build site *.egg-info
