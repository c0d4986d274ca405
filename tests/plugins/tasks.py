"""Problems somebody brought: a function with a setting that cannot be any number, and a network on a few examples."""

import torch
from torch import nn

from core import Hyper, from_function, from_module
from core.plugins import register
from core.tasks import Task


def line(slope: float) -> Task:
    return from_function(lambda x, step: (x[:, 0] / slope - 1) ** 2, [1 / slope])


def classes(width: int) -> Task:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 2, generator=generator)
    y = (x[:, 0] > 0).long()
    return from_module(
        lambda: nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 2)),
        nn.functional.cross_entropy,
        train=(x[:12], y[:12]),
        validation=(x[12:], y[12:]),
    )


register("plugin_line", "A line", line, [Hyper("slope", 0.5, 0.0, 1.0)])
register("plugin_classes", "Classes of a plug-in", classes, [Hyper("width", 4, 1, 8, label="Hidden units")])
