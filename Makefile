# Descent Lab. Two commands do everything, on a fresh machine with Python 3.11 or newer:
#
#   make run     makes the environment .venv, installs what is missing, serves the app
#   make test    the same, and then runs every test
#
# The others:
#
#   make check   format, lint and types        make bench   writes benchmarks/results.json
#   make format  puts the format right         make tune    tunes the learning rates anew
#   make docs    writes docs/optimizers.md     make venv    the empty environment only
#   make clean   removes the environment
#
# Settings, given as in `make run PORT=9000`:

PYTHON  ?= python3
PORT    ?= 8501
# 0.0.0.0 opens the app to the network, for a class.
ADDRESS ?= 127.0.0.1
# Optimizer classes that race beside the built-in ones: packages, classes or files, as in
# make run OPTIMIZERS="torch.optim pytorch_optimizer mypackage.MyOptimizer path/to/file.py".
OPTIMIZERS ?= $(DESCENT_LAB_OPTIMIZERS)
# Files with problems of your own beside the built-in ones, as in make run PLUGINS=path/to/my_tasks.py.
PLUGINS ?= $(DESCENT_LAB_PLUGINS)
# Further words for pytest, as in `make test ARGS="tests/test_palette.py -k contrast"`.
ARGS    ?=

VENV := .venv
PY   := $(VENV)/bin/python

# One thread a process: on a busy machine more threads wait for each other at every small
# operation. The workers are processes, one a core.
export OMP_NUM_THREADS      := 1
export MKL_NUM_THREADS      := 1
export OPENBLAS_NUM_THREADS := 1
export DESCENT_LAB_OPTIMIZERS := $(OPTIMIZERS)
export DESCENT_LAB_PLUGINS := $(PLUGINS)

.DELETE_ON_ERROR:
.PHONY: run test check format bench tune docs venv setup setup-dev clean

run: setup
	@address="$(ADDRESS)"; \
	case "$$address" in 0.0.0.0|::) \
		address=$$(hostname -I 2>/dev/null | cut -d' ' -f1); address=$${address:-$$(hostname)};; \
	esac; \
	echo "Descent Lab: http://$$address:$(PORT)   (ready in a few seconds; Ctrl-C ends it)"
	@trap 'exit 0' INT; $(PY) -m streamlit run serve.py --server.port "$(PORT)" --server.address "$(ADDRESS)" \
		--logger.hideWelcomeMessage true

# Files of tests are spread over two processes, so that those that need the browser, all in one
# file, share one browser and one server.
test: setup-dev
	$(PY) -m pytest -n 2 --dist loadfile $(ARGS)
	@if ! command -v node >/dev/null; then \
		echo "skipped: the tests in tests/js need node, which is not installed"; \
	elif ! ls tests/js/*.test.mjs >/dev/null 2>&1; then \
		echo "skipped: there are no tests in tests/js"; \
	else \
		node --test tests/js/*.test.mjs; \
	fi

check: setup-dev
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

format: setup-dev
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

bench: setup-dev
	$(PY) -m benchmarks.run

tune: setup
	$(PY) -m benchmarks.tune

docs: setup
	$(PY) -m ui.catalogue

clean:
	rm -rf $(VENV) static/plotly.min.js

# The set-up. Each step leaves a stamp in .venv and is done again only when what it was made
# from is newer; an interrupted step is simply done again.

venv: $(PY)
setup: $(VENV)/.installed static/plotly.min.js
setup-dev: $(VENV)/.installed-dev static/plotly.min.js

# Also when the Python it was made from has gone: a link that leads nowhere counts as missing.
$(PY):
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "Descent Lab needs Python 3.11 or newer, and there is no $(PYTHON) here: name yours with make PYTHON=..."; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Descent Lab needs Python 3.11 or newer, and $(PYTHON) is $$("$(PYTHON)" -V 2>&1): name a newer one with make PYTHON=..."; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) lacks its venv module: install it (on Debian and Ubuntu: apt install python3-venv) and try again."; exit 1; }
	@echo "1/3 making the environment $(VENV) with $$("$(PYTHON)" -V)"
	@"$(PYTHON)" -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

# torch goes first and alone, so that no other package chooses its build; one of the right
# version that is already there is left as it is.
$(VENV)/.installed: $(PY) requirements.txt Makefile
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip >/dev/null
	@echo "2/3 installing PyTorch, the largest part: some minutes on a slow line"
	@torch=$$(grep '^torch==' requirements.txt); \
	if $(PY) -m pip freeze | grep "^$$torch\(+.*\)\?$$" >/dev/null; then \
		echo "    $$torch is there already"; \
	else \
		$(PY) -m pip install "$$torch"; \
	fi
	@echo "3/3 installing the other packages, a minute or two"
	@$(PY) -m pip install --quiet -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@echo "    and the tools for the tests"
	@$(PY) -m pip install --quiet -r requirements-dev.txt
	@touch $@

# The page loads Plotly once, as a file of its own. A copy, not a link: Streamlit serves only
# what really lies in static/.
static/plotly.min.js: $(VENV)/.installed
	@$(PY) -c 'import shutil, plotly; shutil.copyfile(plotly.__path__[0] + "/package_data/plotly.min.js", "$@")'
