"""A module by itself: made anew for each seed, and looked at before it becomes a task.

`inspect` refuses what cannot be trained as a table, in one sentence that says what to do about it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from core.tasks.base import Layer
from core.tasks.data import initial_draw

Make = Callable[[], nn.Module]
Loss = Callable[[Tensor, Tensor], Tensor]
_ONE_AT_A_TIME = threading.RLock()  # torch's global generator is borrowed by one thread at a time


@contextmanager
def borrowed(seed: int) -> Iterator[None]:
    """torch's global generator, seeded; afterwards it is where it was.

    The initialisers of `torch.nn` draw from no other one. Nothing else in this project touches it.
    """
    with _ONE_AT_A_TIME, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def drawn(make: Make, seed: int, draw: int = 0) -> nn.Module:
    """The module with the first weights of a seed, and of each later draw of it: its own initialisation."""
    with borrowed(int(initial_draw(seed, draw).integers(2**63))):
        return make()


def as_like(values: Tensor, like: Tensor) -> Tensor:
    """Real numbers in the dtype of `like`, whole ones as they are; on its device."""
    return values.to(like) if values.is_floating_point() else values.to(like.device)


def layers(module: nn.Module, x: Tensor) -> tuple[Layer, ...]:
    """Each layer that has weights of its own or no layers in it, with the shape of one example of what leaves it."""
    shapes: dict[str, str] = {}

    def watch(name: str, layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def note(_layer: nn.Module, _inputs: object, output: object) -> None:
            first = output[0] if isinstance(output, tuple) and output else output
            if isinstance(first, Tensor):
                shapes[name] = " × ".join(map(str, first.shape[1:])) or "1"

        return layer.register_forward_hook(note)

    watched = [watch(name, layer) for name, layer in module.named_modules()]
    with torch.no_grad():
        module(as_like(x, next(module.parameters())))
    for handle in watched:
        handle.remove()
    found: dict[str, int] = {}
    counted: set[int] = set()
    for name, layer in module.named_modules():
        own = [p for p in layer.parameters(recurse=False) if id(p) not in counted]
        counted |= {id(p) for p in own}
        home = name
        while home and home not in shapes:  # used by the one around it, which does not call it
            home = home.rpartition(".")[0]
        if own or (name in shapes and not list(layer.children())):
            found[home] = found.get(home, 0) + sum(p.numel() for p in own)
    return tuple(
        Layer(name or "module", _does(module.get_submodule(name)), shapes[name], count) for name, count in found.items()
    )


def _does(layer: nn.Module) -> str:
    return f"{type(layer).__name__}({layer.extra_repr()})"


# ---------------------------------------------------------------- what is refused


def inspect(make: Make, loss: Loss, x: Tensor, y: Tensor) -> tuple[nn.Module, Tensor]:
    """A module and what it gives for the inputs x `[B, …]`, taken in its own dtype.

    Raises:
        ValueError: the module, its loss and this batch do not make a task; one sentence says why and what to do.
    """
    module = _made(make)
    _weights(module)
    x, y = (as_like(values, next(module.parameters())) for values in (x, y))
    output, value = _tried(module, loss, x, y)
    _unchanging(module, x)
    _constants(make)
    _slope(module, value)
    _mean(module, loss, x, y, value)
    return module, output


def said(error: BaseException) -> str:
    """The first line of an exception, not too long, without a full stop."""
    text = next(iter(str(error).splitlines()), "")[:200]
    return f"{type(error).__name__}: {text}".rstrip(".: ")


def kind(tensor: Tensor) -> str:
    """A tensor's shape and type in words: (8, 10) of float32."""
    return f"{tuple(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"


def _made(make: Make) -> nn.Module:
    """A module of seed 0, where the function makes a new one each time and draws from torch's generator alone."""
    if isinstance(make, nn.Module) or not callable(make):
        raise ValueError(
            "from_module needs a function that makes the module, so that each seed gets first weights of its own: "
            "lambda: nn.Sequential(…)."
        )
    try:
        first, again, other = drawn(make, 0), drawn(make, 0), drawn(make, 1)
    except Exception as error:
        raise ValueError(f"The module cannot be made ({said(error)}): see that the function runs by itself.") from error
    if not all(isinstance(module, nn.Module) for module in (first, again, other)):
        raise ValueError(f"The function gives {type(first).__name__}, but must give an nn.Module.")
    if first is again:
        raise ValueError(
            "The function gives the same module each time; it must make a new one: lambda: nn.Sequential(…)."
        )
    if any(nn.parameter.is_lazy(p) for p in first.parameters()):
        raise ValueError("A lazy layer has no weights before it sees data: give its size, as in nn.Linear(64, 10).")
    shapes = [[(name, p.shape) for name, p in module.named_parameters()] for module in (first, again, other)]
    if not shapes[0] == shapes[1] == shapes[2]:
        raise ValueError("The function gives other layers each time; it must always make the same ones.")
    if not all(torch.equal(p, q) for p, q in zip(first.parameters(), again.parameters(), strict=True)):
        raise ValueError(
            "The first weights of one seed differ from time to time: draw them from torch's generator "
            "(nn.init, torch.randn), not from NumPy's or Python's."
        )
    return first


def _weights(module: nn.Module) -> None:
    found = dict(module.named_parameters())
    if not found:
        raise ValueError("The module has no parameters, so there is nothing to train: give it a layer with weights.")
    for name, p in found.items():
        if not p.requires_grad:
            raise ValueError(
                f"The parameter {name} is frozen, and a column of the table cannot be: make it a buffer "
                "(register_buffer), which stays as it is."
            )
        if not p.is_floating_point():
            raise ValueError(f"The parameter {name} is {kind(p)}; only real numbers can be trained here.")


def _tried(module: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """What the module gives for x, and the loss of that."""
    with borrowed(0):
        try:
            output = module(x)
        except Exception as error:
            raise ValueError(
                f"The module does not take inputs of {kind(x)} ({said(error)}): its first layer and the data must fit."
            ) from error
        if not isinstance(output, Tensor):
            raise ValueError(
                f"The module gives {type(output).__name__}, but must give one tensor: return the part the loss needs."
            )
        if y.is_floating_point() and output.shape != y.shape and output.numel() == y.numel():
            raise ValueError(
                f"The module gives {tuple(output.shape)} for targets of {tuple(y.shape)}, and a loss would compare "
                "each with each: reshape the one or the other, as in y.reshape(-1, 1)."
            )
        try:
            value = loss(output, y)
        except Exception as error:
            raise ValueError(
                f"The loss does not take what the module gives, {kind(output)}, with targets of {kind(y)} "
                f"({said(error)}): {_fit(output, y)}."
            ) from error
    if not isinstance(value, Tensor) or value.numel() != 1:
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"The loss of a batch is {found}, but must be one number: reduction='mean'.")
    for what, tensor in (("module's output", output), ("loss", value)):
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(
                f"The {what} is not finite before the first step: look for a division by 0, a log or root of 0, "
                "or inputs that are far too large."
            )
    return output, value


def _fit(output: Tensor, y: Tensor) -> str:
    """What to do about outputs and targets that a loss does not take together."""
    if output.ndim == y.ndim + 1:
        if y.is_floating_point() and bool((y == y.round()).all()):
            return "class labels must be whole numbers, y.long()"
        if int(y.max()) >= output.shape[1]:
            return f"with {output.shape[1]} outputs the classes are 0 to {output.shape[1] - 1}"
    return "make the shapes and types such as the loss wants them"


def _unchanging(module: nn.Module, x: Tensor) -> None:
    """Refuse a module that gives something else when it is called again, or is another one after it was called."""
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    outputs = []
    for seed in (1, 1, 2):
        with borrowed(seed), torch.no_grad():
            outputs.append(module(x))
    changed = [
        name for name, buffer in module.named_buffers() if name not in before or not torch.equal(buffer, before[name])
    ]
    if changed:
        owner = module.get_submodule(changed[0].rpartition(".")[0])
        norm = isinstance(owner, nn.modules.batchnorm._NormBase)
        instead = "nn.GroupNorm or nn.LayerNorm, which keep nothing" if norm else "a layer that keeps nothing"
        raise ValueError(
            f"The layer {type(owner).__name__} changes its buffer {changed[0]} in training, which a row of a table "
            f"cannot: use {instead}."
        )
    if not torch.equal(outputs[0], outputs[1]):
        raise ValueError(
            "The module gives something else for the same batch when it is asked again: it must remember nothing "
            "between two calls."
        )
    if not torch.equal(outputs[0], outputs[2]):
        kinds = {type(layer).__name__ for layer in module.modules()}
        noisy = ", ".join(sorted(name for name in kinds if "Dropout" in name))
        raise ValueError(
            f"The module draws at random in its forward pass{noisy and f' ({noisy})'}, so that no step could be "
            "repeated: leave dropout out (p=0), or return the module in .eval() mode."
        )


def _constants(make: Make) -> None:
    for (name, one), two in zip(drawn(make, 0).named_buffers(), drawn(make, 1).buffers(), strict=True):
        if not torch.equal(one, two):
            raise ValueError(f"The buffer {name} differs from seed to seed: make it a parameter, or always the same.")


def _slope(module: nn.Module, value: Tensor) -> None:
    parameters = list(module.parameters())
    found = torch.autograd.grad(value, parameters, allow_unused=True) if value.requires_grad else ()
    slopes = [slope for slope in found if slope is not None]
    if not any(bool(slope.any()) for slope in slopes):
        raise ValueError(
            "The loss does not depend on the weights: look for .detach(), .item(), argmax or no_grad between the "
            "module's parameters and the loss."
        )
    if not all(bool(torch.isfinite(slope).all()) for slope in slopes):
        raise ValueError(
            "The gradient is not finite before the first step: look for a root, a norm or a division at 0."
        )


def _mean(module: nn.Module, loss: Loss, x: Tensor, y: Tensor, value: Tensor) -> None:
    """Refuse a loss that adds up: the same examples twice would count twice."""
    with torch.no_grad():
        twice = loss(module(torch.cat([x, x])), torch.cat([y, y]))
    if torch.allclose(twice, 2 * value, rtol=1e-4) and not torch.allclose(twice, value, rtol=1e-4):
        raise ValueError(
            "The loss adds up over the examples, so that it would grow with the batch: take their mean, "
            "reduction='mean'."
        )
