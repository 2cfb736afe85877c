"""The contract as plain functions, in modules by groups of clauses. Importing this registers them all."""

from model.invariants import (
    commands,
    definitions,
    failures,
    journal,
    order,
    recovery,
    reports,
    rollback,
    shutdown,
    values,
)
from model.invariants.registry import ANY, ENGINE_WIDE, INVARIANTS, STRANGER, Check, Invariant, Key, listens

__all__ = [
    "ANY",
    "ENGINE_WIDE",
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
    "recovery",
    "reports",
    "rollback",
    "shutdown",
    "values",
]
