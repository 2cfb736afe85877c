"""A workflow engine on asyncio: a pure core, a thin shell, a journal that is the only truth."""

from engine.definition import parse_workflow
from engine.driver import Action, ActionContext
from engine.graph import graph_to_steps
from engine.journal import Journal, MemoryJournal
from engine.sqlite_journal import SqliteJournal
from engine.state_manager import ExecutionStateManager, Subscription
from engine.workflow_engine import WorkflowEngine

__all__ = [
    "Action",
    "ActionContext",
    "ExecutionStateManager",
    "Journal",
    "MemoryJournal",
    "SqliteJournal",
    "Subscription",
    "WorkflowEngine",
    "graph_to_steps",
    "parse_workflow",
]
