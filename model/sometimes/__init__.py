"""The places where bugs live, as plain functions, in modules by groups of clauses. Importing this declares them all."""

from model.sometimes import commands, crashes, definitions, failures, running, shutdowns
from model.sometimes.registry import SITUATIONS, TRANSITIONS, Situation, Watch

__all__ = [
    "SITUATIONS",
    "TRANSITIONS",
    "Situation",
    "Watch",
    "commands",
    "crashes",
    "definitions",
    "failures",
    "running",
    "shutdowns",
]
