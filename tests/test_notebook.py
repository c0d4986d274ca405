"""The few lines for a notebook that README.md shows, run as they stand, where neither Streamlit nor Plotly is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(r"^#+ In a notebook[^\n]*\n.*?^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROLOGUE = (
    "import sys, warnings\n"
    "warnings.simplefilter('error')\n"
    "sys.modules.update(dict.fromkeys(['streamlit', 'plotly', 'ui', 'pages']))\n"
)


def run_alone(code: str) -> subprocess.CompletedProcess[str]:
    """In a fresh interpreter, in the project's folder, as a notebook beside core/ would."""
    return subprocess.run([sys.executable, "-c", PROLOGUE + code], cwd=ROOT, capture_output=True, text=True)


def test_the_lines_of_the_readme_run() -> None:
    if not README.exists():
        pytest.skip("README.md is not written yet")
    found = BLOCK.search(README.read_text())
    assert found, 'README.md must have a ```python block under a heading "In a notebook"'
    lines = [line for line in found[1].splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(lines) <= 5, f"five lines are promised, not {len(lines)}"
    done = run_alone(found[1])
    assert done.returncode == 0, done.stderr


def test_a_race_and_a_function_of_ones_own_need_no_page() -> None:
    """What `core` promises in its docstring, and `from_function` in one line."""
    done = run_alone(
        "from core import from_function, race, racer, run\n"
        "history = run(race('digits', [racer('sgd', lr=0.3), racer('adam', lr=0.003)], steps=60, seeds=2))\n"
        "assert history.smooth[-1].shape == (2, 2)\n"
        "assert (history.smooth[-1] < history.smooth[0]).all()\n"
        "bowl = from_function(lambda x, step: (x ** 2).sum(1), start=[1.0, -2.0])\n"
        "print(run(race(bowl, [racer('sgd', lr=0.25)], steps=50)).loss[-1, 0, 0])\n"
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-20
