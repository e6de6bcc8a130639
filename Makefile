# Each target is a line or two that a person could type; the README gives them for people without make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PRESET ?= quick
DATASET ?= auto
# Empty takes the newest releases that the files of requirements admit.
CONSTRAINTS ?= -c constraints.txt
INSTALL := -m pip install --quiet --disable-pip-version-check
TESTED := $(VENV)/ready-book $(VENV)/ready-grading $(VENV)/ready-authors

.PHONY: run test test-all lab book colab notebooks train bench lint constraints clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/'

$(VENV)/ready: requirements.txt constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) -r requirements.txt -e . $(CONSTRAINTS)
	touch $@

$(VENV)/ready-%: requirements-%.txt $(VENV)/ready
	$(BIN)/python $(INSTALL) -r $< $(CONSTRAINTS)
	touch $@

run: $(VENV)/ready-book  ## execute all lessons into build/ and make the book of them (PRESET=smoke|quick|full, DATASET=…)
	$(BIN)/python -m lab run --preset $(PRESET) --dataset $(DATASET) --out build

test: $(TESTED)  ## each promise of the lab once, in minutes; it says first what it cannot test on this machine
	$(BIN)/python -m pytest

test-all: $(TESTED)  ## every test, also the slow ones: about half an hour
	$(BIN)/python -m pytest -m ""

lab: $(VENV)/ready  ## open JupyterLab on your own copies in my_lab/; notebooks/ is the book beside them
	$(BIN)/python -m lab copy
	$(BIN)/python -m jupyterlab --notebook-dir=. my_lab/01_function_inversion.ipynb

book: $(VENV)/ready-book  ## the lessons as web pages, from the committed notebooks: build/book/index.html
	$(BIN)/python -m lab book --out build/book

colab: $(VENV)/ready  ## each lesson as one notebook that needs nothing beside it, to upload to Colab: build/colab
	$(BIN)/python -m lab colab --out build/colab

notebooks: $(VENV)/ready-authors  ## for authors: execute the text twins into the committed notebooks
	$(BIN)/python -m lab build $(LESSONS)

train: $(VENV)/ready  ## the recorded full run, hours; stop it and start it again as you like
	$(BIN)/python -m lab train --model classic --dataset mnist --out build/classic --resume

bench: $(VENV)/ready-grading  ## measure again what README and lessons quote: an hour; may be stopped and started again
	$(BIN)/python -m benchmarks.quality
	$(BIN)/python -m benchmarks.ablation
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.marking
	$(BIN)/python -m benchmarks.filling
	$(BIN)/python -m benchmarks.schedules
	$(BIN)/python -m benchmarks.one_call
	$(BIN)/python -m benchmarks.copying
	$(BIN)/python -m benchmarks.unlabelled
	$(BIN)/python -m benchmarks.edits

lint: $(VENV)/ready-authors  ## ruff, as in CI
	$(BIN)/python -m ruff check . && $(BIN)/python -m ruff format --check .

constraints:  ## for authors: renew constraints.txt, in a fresh environment with all files of requirements
	$(PYTHON) -m venv --clear build/constraints
	build/constraints/bin/python $(INSTALL) $(patsubst %,-r %,$(wildcard requirements*.txt))
	{ head -n 1 constraints.txt; build/constraints/bin/python -m pip freeze | sed 's/+cpu$$//'; } >build/constraints.txt
	mv build/constraints.txt constraints.txt

clean:  ## remove what was built, keep the virtual environment
	rm -rf build
