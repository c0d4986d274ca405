"""What each rule must equal: an independent implementation of it, and how that one is told the same settings.

One file a source or family. To prove a new rule: one entry in the `REFERENCES` of the file where it belongs.
"""

from tests.references import averaged, curvature, layerwise, matrix, relatives, sign, torch_optim, wrappers
from tests.references.base import Problem, Reference, Weights

REFERENCES: dict[str, Reference] = {
    name: reference
    for family in (torch_optim, relatives, sign, layerwise, averaged, matrix, curvature, wrappers)
    for name, reference in family.REFERENCES.items()
}

__all__ = ["REFERENCES", "Problem", "Reference", "Weights"]
