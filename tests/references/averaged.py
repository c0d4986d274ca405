from tests.references.base import Reference

REFERENCES: dict[str, Reference] = {}
