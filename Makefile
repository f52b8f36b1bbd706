# Two commands: `make search` and `make test`. Both set up .venv by themselves and are safe to repeat.
PYTHON ?= python3
BIN := .venv/bin
# one torch thread a process: searches and tests run several processes side by side
export OMP_NUM_THREADS ?= 1

.PHONY: search test test-slow test-faults test-all check docs clean

search: .venv/ready
	$(BIN)/nasforge search digits --run runs/digits --control --workers 2 --export python

test: .venv/ready
	$(BIN)/ruff check nasforge tests benchmarks
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2

# what takes some seconds or several processes: real searches, the pages of docs, Ray, the faults
test-slow: .venv/ready
	$(BIN)/python -m pytest -n 2 -m "slow and not thorough"

# the faults: killed workers, drivers and nodes, a lost database, a full disk, ... (PostgreSQL's tests are skipped where it is not installed)
test-faults: .venv/ready
	$(BIN)/python -m pytest -n 2 -m "slow or thorough" tests/slow/test_faults.py tests/slow/test_postgres.py tests/slow/test_ray.py tests/slow/test_ray_nodes.py \
	  tests/slow/test_ray_tune.py

# every network of the zoo at its full size besides: hours
test-all: .venv/ready
	$(BIN)/python -m pytest -n 2 -m "slow or thorough or not slow"

check: .venv/ready
	$(BIN)/ruff check nasforge tests benchmarks
	$(BIN)/mypy

# the pages of docs/ as a site in build/site
docs: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --quiet

.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray,tune,postgres,data,huggingface,completion,tensorboard,test]'
	touch $@

clean:
	rm -rf .venv build dist *.egg-info
