"""The contract as plain functions, in modules by groups of clauses. Importing this registers them all."""

from model.invariants import commands, definitions, failures, journal, order, reports, rollback, values
from model.invariants.registry import ANY, INVARIANTS, STRANGER, Check, Invariant, Key, listens

__all__ = [
    "ANY",
    "INVARIANTS",
    "STRANGER",
    "Check",
    "Invariant",
    "Key",
    "commands",
    "definitions",
    "failures",
    "journal",
    "listens",
    "order",
    "reports",
    "rollback",
    "values",
]
