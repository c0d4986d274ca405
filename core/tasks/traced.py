"""A function of tensors, replayed: what it comes down to is written down once and then only done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

KEPT = 64  # sets of shapes whose operations are kept


class Traced:
    """`function(*tensors)`, whose operations are the same for all tensors of the same shapes.

    vmap and autograd find out at every call what is to be done, which takes longer than to do it where a network is
    small. From the second call with the same shapes on, the operations that `make_fx` saw are run and nothing else:
    the same ones in the same order, so that the numbers are the same to the last bit.
    """

    def __init__(self, function: Callable[..., Any]):
        self._function = function
        self._known: dict[tuple[object, ...], Callable[..., Any]] = {}

    def __call__(self, *tensors: Tensor) -> Any:
        shapes = tuple((tensor.shape, tensor.dtype, tensor.device) for tensor in tensors)
        replay = self._known.get(shapes)
        if replay is None:
            self._remember(shapes, self._function)
            return self._function(*tensors)
        if replay is self._function:
            from torch.fx.experimental.proxy_tensor import make_fx  # here, because its import costs most of a second

            replay = make_fx(self._function)(*tensors)
            self._remember(shapes, replay)
        return replay(*tensors)

    def _remember(self, shapes: tuple[object, ...], replay: Callable[..., Any]) -> None:
        if shapes not in self._known and len(self._known) == KEPT:
            del self._known[next(iter(self._known))]
        self._known[shapes] = replay
