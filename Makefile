# Two commands set everything up on a machine with Python and make:  make demo   make test
PYTHON ?= python3
BIN    := .venv/bin
RANKS  ?= 6
SIZES  ?= 1,2,3,4,6
OUT    ?= report
BENCH  ?= startup convolution movement misuse fno scaling dfno navier_stokes two_phase whole_field
CORES  := $(shell nproc 2>/dev/null || echo 1)
# where ranks outnumber cores, a waiting rank must give way
yield   = $(shell test $(1) -gt $(CORES) && echo MPIR_CVAR_POLLS_BEFORE_YIELD=1 MPIR_CVAR_ENABLE_HEAVY_YIELD=1)
# an mpiexec around this make would be mistaken for ours
CLEAN  := env $(foreach name,$(filter PMI_% PMIX_% HYDRA_% OMPI_%,$(.VARIABLES)),-u $(name))
# any name as one word of the shell
quoted  = '$(subst ','\'',$(1))'

# of the small cases, exhaust proves one in STEP
STEP ?= 1

.PHONY: help demo test peers arrays validate exhaust flows iterations opm nightly mutants lint tutorials clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*##/\t/'

.venv/ready: setup.cfg
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "refimpl needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + "; try: make PYTHON=python3.11")'
	@$(PYTHON) -m venv .venv || { echo "cannot make .venv: install your system's package for Python's venv module"; exit 1; }
	$(BIN)/python -m pip install --quiet --editable '.[mpich,test,docs,dev]'
	@touch $@

demo: .venv/ready  ## the main job, end to end; TOPS=FILE for a real top surface, OUT=DIR for the page
	$(CLEAN) $(BIN)/refimpl demo --out $(call quoted,$(OUT)) $(if $(TOPS),--tops $(call quoted,$(TOPS))) $(ARGS)

test: .venv/ready  ## the whole suite on 1, 2, 3, 4 and 6 ranks, in one mpiexec
	$(CLEAN) $(call yield,$(RANKS)) $(BIN)/mpiexec -n $(RANKS) $(BIN)/python -m pytest --sizes $(SIZES) $(ARGS)

arrays: .venv/ready  ## the suite on blocks of array-api-strict, and of torch where it is installed
	for library in array_api_strict $$($(BIN)/python -c 'import importlib.util as u; print("torch" * (u.find_spec("torch") is not None))'); do \
	$(CLEAN) $(call yield,$(RANKS)) $(BIN)/mpiexec -n $(RANKS) $(BIN)/python -m pytest --sizes $(SIZES) --arrays $$library $(ARGS) || exit 1; done

peers: .venv-bench/ready  ## layers and networks against torch and neuraloperator, in an environment that has them (1.5 GB)
	$(CLEAN) $(call yield,$(RANKS)) .venv-bench/bin/mpiexec -n $(RANKS) .venv-bench/bin/python -m pytest --sizes $(SIZES) adjoint_tests/test_torch*.py $(ARGS)

validate: exhaust flows iterations opm  ## what takes longer than the suite may: exhaust, flows, iterations and opm

flows: .venv/ready  ## the flow simulator against published figures
	$(CLEAN) $(BIN)/python adjoint_tests/validate_flows.py $(ARGS)

iterations: .venv/ready  ## of the CO2 simulator's linear solver in hard rock
	$(CLEAN) $(BIN)/python adjoint_tests/validate_two_phase.py $(ARGS)

opm: .venv/ready  ## the CO2 simulator against OPM Flow, where that is installed
	$(CLEAN) $(BIN)/python adjoint_tests/validate_opm_flow.py $(ARGS)

exhaust: .venv/ready  ## every small case of every data movement, as a matrix, on RANKS ranks; STEP=10 for one in ten
	$(CLEAN) $(call yield,$(RANKS)) $(BIN)/mpiexec -n $(RANKS) $(BIN)/python adjoint_tests/small_scope.py --step $(STEP)

nightly: .venv/ready  ## the suite with random seeds and 1000 examples a property, on 1 to 8 ranks; failures are replayed first
	$(CLEAN) $(call yield,8) SPMD_PROFILE=nightly SPMD_LIMIT=600 $(BIN)/mpiexec -n 8 $(BIN)/python -m pytest --sizes 1,2,3,4,5,6,7,8 $(ARGS)

mutants: .venv/ready  ## do the tests of movement and layers fail where the code is changed? ARGS="--room movement --number 100"
	$(CLEAN) $(BIN)/python adjoint_tests/mutants.py $(ARGS)

lint: .venv/ready  ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy refimpl solvers

tutorials: .venv/ready  ## weave the chapters to pages in tutorials/out
	for chapter in tutorials/[0-9]*.py; do $(CLEAN) $(call yield,4) $(BIN)/mpiexec -n 4 $(BIN)/python tutorials/weave.py $$chapter --out tutorials/out || exit 1; done

# kernels for another processor would slow NumPy
MEASURE := $(CLEAN) -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE

.venv-bench/ready: setup.cfg benchmarks/requirements.txt
	@$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --editable '.[mpich,test]' -r benchmarks/requirements.txt
	.venv-bench/bin/python -m pip install --quiet mpi4py-fft || echo "without mpi4py-fft: it needs FFTW's headers and a compiler"
	@touch $@

bench: .venv-bench/ready  ## against the peers, to bench/*.md; BENCH=movement for one of movement, convolution, startup, misuse, fno, scaling, dfno, navier_stokes, two_phase, whole_field
	@mkdir -p bench
	@for name in $(BENCH); do $(MAKE) --no-print-directory bench-$$name || exit 1; done

bench-movement bench-dfno: bench-%:
	$(foreach n,1 2 4,$(MEASURE) $(call yield,$(n)) .venv-bench/bin/mpiexec -n $(n) .venv-bench/bin/python benchmarks/$*.py $(ARGS) > bench/$*-$(n).md &&) cat bench/$*-*.md

bench-convolution bench-startup: bench-%:
	$(MEASURE) .venv-bench/bin/python benchmarks/$*.py $(ARGS) > bench/$*.md && cat bench/$*.md

# with one thread and two, each with malloc as it comes and, "tuned", without page faults for large arrays
TUNED := MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000
bench-fno:
	$(foreach t,1 2,$(MEASURE) .venv-bench/bin/python benchmarks/fno.py --threads $(t) $(ARGS) > bench/fno-$(t).md && \
	$(MEASURE) $(TUNED) .venv-bench/bin/python benchmarks/fno.py --threads $(t) $(ARGS) > bench/fno-$(t)-tuned.md &&) cat bench/fno-*.md

bench-whole_field:
	$(foreach what,pressure injection,$(MEASURE) .venv-bench/bin/python benchmarks/whole_field.py $(what) > bench/whole_field-$(what).md &&) cat bench/whole_field-*.md

bench-scaling:
	$(MEASURE) .venv-bench/bin/mpiexec -n 2 .venv-bench/bin/python benchmarks/scaling.py $(ARGS) > bench/scaling.md && cat bench/scaling.md

bench-navier_stokes bench-two_phase: bench-%:
	$(foreach n,1 2,$(MEASURE) $(call yield,$(n)) .venv-bench/bin/mpiexec -n $(n) .venv-bench/bin/python benchmarks/$*.py $(ARGS) > bench/$*-$(n).md &&) cat bench/$*-*.md

bench-misuse:
	$(MEASURE) .venv-bench/bin/python benchmarks/misuse.py --out benchmarks/misuse.md $(ARGS)

clean:  ## remove the environment and what was made
	rm -rf .venv .venv-bench bench build *.egg-info tutorials/out
