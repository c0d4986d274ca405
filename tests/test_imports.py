"""Imports point one way, and core/ is usable without the page: read from the files, so new ones are covered.

A module may import what stands on a lower step than itself. What shares a step does not see its neighbours,
unless the step is one family (tasks/, ui/). A core file that is on no step fails until it is placed here.
"""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Lowest first. A name stands for the module and everything in it; "core" only for core/__init__.py,
# what a notebook imports.
STEPS: tuple[tuple[str, ...], ...] = (
    ("core.spec", "core.cache"),
    ("core.optimizers", "core.schedules", "core.edits", "core.tasks"),
    ("core.guests",),
    ("core.adapter", "core.plugins"),
    ("core.config",),
    ("core.probes", "core.lens"),
    ("core.state",),
    ("core.plan",),
    ("core.reactions",),
    ("core.fork",),
    ("core.chunk",),
    ("core.train",),
    ("core.history",),
    ("core.analysis", "core.tuned", "core.conformance", "core.carry", "core.race", "core.sweep"),
    ("core.remedies",),
    ("core",),
    ("ui",),
    ("pages",),
    ("app", "serve"),
)
# Families, whose members may import each other; no circle, which is tested for all.
FAMILIES = ("core.guests", "core.optimizers", "core.schedules", "core.tasks", "ui")

# Third parties that must not be imported in a part of the project.
FORBIDDEN = {
    "core": {"streamlit", "plotly"},
    "pages": {"torch", "numpy", "plotly"},
}


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    _name(path): path
    for place in ("core/**/*.py", "ui/**/*.py", "pages/**/*.py", "app.py", "serve.py")
    for path in sorted(ROOT.glob(place))
}


def _within(module: str, place: str) -> bool:
    return module == place or module.startswith(place + ".")


def _place(module: str) -> tuple[int, str] | None:
    """The step of a module, and the name there that covers it."""
    for step, names in enumerate(STEPS):
        for name in names:
            if module == name or (name != "core" and _within(module, name)):
                return step, name
    return None


def _imports(module: str) -> set[str]:
    """Every module that the file names in an import, at its top or inside a function."""
    path = FILES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            # `from core import train` names the module core.train, not core
            submodules = {name for alias in node.names if (name := f"{source}.{alias.name}") in FILES}
            found |= submodules or {source}
    return found


def _own_imports(module: str) -> set[str]:
    return {name for name in _imports(module) if name.split(".")[0] in ("core", "ui", "pages", "app", "serve")}


def test_every_core_file_is_placed() -> None:
    astray = [name for name in FILES if _within(name, "core") and _place(name) is None]
    assert not astray, f"{astray}: give each its step in tests/test_imports.py"


@pytest.mark.parametrize("module", FILES)
def test_imports_point_down(module: str) -> None:
    imported = _own_imports(module)
    here = _place(module)
    if here is None:
        assert not imported, f"{module} is on no step and imports {sorted(imported)}"
        return
    for other in sorted(imported):
        there = _place(other)
        assert there is not None, f"{module} imports {other}, which is on no step"
        same_family = there == here and here[1] in FAMILIES
        assert there[0] < here[0] or same_family, f"{module} imports {other}, which is not below it"


def test_no_circle() -> None:
    list(TopologicalSorter({module: _own_imports(module) for module in FILES}).static_order())


@pytest.mark.parametrize("module", FILES)
def test_third_parties_stay_where_they_belong(module: str) -> None:
    roots = {name.split(".")[0] for name in _imports(module)}
    for place, banned in FORBIDDEN.items():
        if _within(module, place):
            assert not roots & banned, f"{module} imports {sorted(roots & banned)}"


def test_core_works_without_the_page() -> None:
    """All of core is imported in a fresh process in which Streamlit, Plotly, ui and pages cannot be."""
    modules = [name for name in FILES if _within(name, "core")]
    script = (
        "import importlib, sys\n"
        "sys.modules.update(dict.fromkeys(['streamlit', 'plotly', 'ui', 'pages']))\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *modules], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
