"""Optimizer classes as data: where they are found, and what their constructors let one set."""

from __future__ import annotations

import inspect
import math
import sys
import zlib
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

Number = bool | int | float
UNTOUCHED = {"foreach", "fused", "capturable", "differentiable", "maximize"}  # how, not what, a class computes


@dataclass(frozen=True)
class Found:
    """A class: `name` in `module`, which is importable or the path of a file.

    `rate` is its default learning rate, None where it has none; `arguments` are those of its other keyword arguments
    that have a number, a switch or a tuple of numbers as default.
    """

    module: str
    name: str
    origin: str  # "torch 2.13.0", "plugin.py"
    rate: float | None
    arguments: tuple[tuple[str, Number | tuple[Number, ...]], ...]

    @staticmethod
    def read(data: dict[str, Any]) -> Found:
        """From JSON."""
        arguments = tuple((name, tuple(d) if isinstance(d, list) else d) for name, d in data["arguments"])
        return Found(data["module"], data["name"], data["origin"], data["rate"], arguments)


def module_of(where: str) -> ModuleType:
    """Import a module, or the file at this path."""
    if not where.endswith(".py"):
        return import_module(where)
    path = Path(where).resolve(strict=True)
    name = f"plugin_{path.stem}_{zlib.crc32(bytes(path)):08x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    sys.path.append(str(path.parent))  # a file may import its neighbours
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def class_of(module: str, name: str) -> type[torch.optim.Optimizer]:
    """The class itself."""
    found = getattr(module_of(module), name)
    if not _is_optimizer(found):
        raise TypeError(f"{name} is no subclass of torch.optim.Optimizer")
    return found  # type: ignore[no-any-return]


def find(named: str) -> list[Found]:
    """What somebody named: a file, a module, or one class of a module.

    Of a file, the classes that are defined in it; of a package that lists what it supports, as pytorch_optimizer
    does, those; of any other module, all its public ones.

    Raises:
        LookupError: there are no optimizers in it. Whatever else an import raises is raised.
    """
    if named.endswith(".py"):
        module = module_of(named)
        classes = {name: each for name, each in _public(module).items() if each.__module__ == module.__name__}
        named = str(Path(named).resolve())
    else:
        try:
            module = module_of(named)
        except ModuleNotFoundError:
            named, _, name = named.rpartition(".")
            if not named:
                raise
            return [describe(class_of(named, name), named)]
        classes = _public(module)
        if hasattr(module, "get_supported_optimizers"):
            supported = {module.load_optimizer(name) for name in module.get_supported_optimizers()}
            classes = {name: each for name, each in classes.items() if each in supported}
    if not classes:
        raise LookupError("it has no subclass of torch.optim.Optimizer")
    return [describe(each, named) for each in classes.values()]


def describe(cls: type[torch.optim.Optimizer], module: str) -> Found:
    """The class, found in this module, as data."""
    parameters = list(inspect.signature(cls).parameters.values())[1:]
    rate = next((_typed(each) if _is_number(each.default) else 1e-3 for each in parameters if each.name == "lr"), None)
    arguments = tuple(
        (each.name, _typed(each))
        for each in parameters
        if each.name not in UNTOUCHED | {"lr"} and each.kind is not each.VAR_KEYWORD and _is_setting(each.default)
    )
    return Found(module, cls.__name__, _origin(module), None if rate is None else float(rate), arguments)


def _public(module: ModuleType) -> dict[str, type]:
    return {name: each for name, each in vars(module).items() if _is_optimizer(each) and name == each.__name__}


def _is_optimizer(found: object) -> bool:
    base = torch.optim.Optimizer
    return isinstance(found, type) and issubclass(found, base) and found is not base and found.__name__[0] != "_"


def _is_number(default: object) -> bool:
    return isinstance(default, (bool, int, float)) and math.isfinite(default)


def _is_setting(default: object) -> bool:
    return _is_number(default) or (isinstance(default, tuple) and bool(default) and all(map(_is_number, default)))


def _typed(parameter: inspect.Parameter) -> Any:
    """The default, as a float where the annotation says so: many write 0 for it."""
    default, told = parameter.default, str(parameter.annotation)
    return float(default) if type(default) is int and "float" in told else default


def _origin(module: str) -> str:
    if module.endswith(".py"):
        return Path(module).name
    package = module.split(".")[0]
    try:
        return f"{package} {metadata.version(package).split('+')[0]}"
    except metadata.PackageNotFoundError:
        return package
