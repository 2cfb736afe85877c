"""What can go wrong, as types: every error names the caller's mistake and carries the facts.

Rule 1: a constructor takes facts, never a message; the facts are the exception's ``args``, so it can be pickled.
Rule 2: ``str(error)`` is the message, built from the facts alone: the same facts always read the same.
Rule 3: these are refusals and failures of steps; a broken promise of our own is an assertion, not one of these.
"""

from dataclasses import dataclass

__all__ = [
    "CompensationError",
    "ConditionError",
    "DefinitionError",
    "EngineClosedError",
    "ExecutionTimeoutError",
    "Fault",
    "InputError",
    "JournalError",
    "MissingInputError",
    "StepTimeoutError",
    "UnknownExecutionError",
    "UnresolvedReferenceError",
    "ValidationError",
    "WorkflowError",
]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a definition (D3): where it stands, such as ``steps[2].depends_on[0]``, and what it is."""

    place: str
    problem: str

    def __str__(self) -> str:
        """Place and problem in one line; the definition as a whole has an empty place."""
        return f"{self.place or 'the definition'}: {self.problem}"


class WorkflowError(Exception):
    """Everything that this engine raises on purpose."""


class DefinitionError(WorkflowError):
    """A definition was refused (D3); ``faults`` lists everything that was found, each with its place."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__(faults)
        self.faults = faults

    def __str__(self) -> str:
        """Every fault on a line of its own."""
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        return "\n  ".join([f"the definition has {count}:", *map(str, self.faults)])


class ValidationError(WorkflowError):
    """A step's parameters or output break its schema, or the output is no JSON (V4)."""

    def __init__(self, step: str, faults: tuple[str, ...]) -> None:
        super().__init__(step, faults)
        self.step = step
        self.faults = faults

    def __str__(self) -> str:
        """The step, then every ``path: problem``."""
        return f"step {self.step!r} is not valid: {'; '.join(self.faults)}"


class InputError(ValidationError):
    """What is given to a start or a resume is no JSON object (D5); it stands in the place of ``step``."""

    def __str__(self) -> str:
        """What was given, then every ``path: problem``."""
        return f"{self.step} is not valid: {'; '.join(self.faults)}"


class StepTimeoutError(WorkflowError):
    """An attempt outlived its step's timeout, in seconds (F2)."""

    def __init__(self, step: str, attempt: int, seconds: float) -> None:
        super().__init__(step, attempt, seconds)
        self.step = step
        self.attempt = attempt
        self.seconds = seconds

    def __str__(self) -> str:
        """The step, the attempt, the limit."""
        return f"attempt {self.attempt} of step {self.step!r} took longer than {self.seconds:g} seconds"


class ExecutionTimeoutError(WorkflowError):
    """An execution outlived its workflow's timeout, in seconds (F7)."""

    def __init__(self, execution: str, seconds: float) -> None:
        super().__init__(execution, seconds)
        self.execution = execution
        self.seconds = seconds

    def __str__(self) -> str:
        """The execution and the limit."""
        return f"execution {self.execution!r} took longer than {self.seconds:g} seconds"


class MissingInputError(WorkflowError):
    """A step needs inputs that the execution does not have (V3, P4); each path starts with ``input``."""

    def __init__(self, step: str, paths: tuple[str, ...]) -> None:
        super().__init__(step, paths)
        self.step = step
        self.paths = paths

    def __str__(self) -> str:
        """The step and every missing path."""
        return f"step {self.step!r} misses {', '.join(self.paths)}"


class UnresolvedReferenceError(WorkflowError):
    """A step refers to a path that the output of its ancestor does not have (V3)."""

    def __init__(self, step: str, path: str) -> None:
        super().__init__(step, path)
        self.step = step
        self.path = path

    def __str__(self) -> str:
        """The step and the path."""
        return f"step {self.step!r} refers to {self.path}, which does not exist"


class ConditionError(WorkflowError):
    """A condition could not be evaluated; ``step`` is the one that it decides about (V5)."""

    def __init__(self, step: str, condition: str, reason: str) -> None:
        super().__init__(step, condition, reason)
        self.step = step
        self.condition = condition
        self.reason = reason

    def __str__(self) -> str:
        """The step, the condition's text, the reason."""
        return f"the condition of step {self.step!r} cannot be evaluated: {self.condition!r}: {self.reason}"


class CompensationError(WorkflowError):
    """A step's compensation failed for good (F5)."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(step, reason)
        self.step = step
        self.reason = reason

    def __str__(self) -> str:
        """The step and the reason."""
        return f"the compensation of step {self.step!r} failed: {self.reason}"


class UnknownExecutionError(WorkflowError):
    """A command names an execution that the journal does not have (K1)."""

    def __init__(self, execution: str) -> None:
        super().__init__(execution)
        self.execution = execution

    def __str__(self) -> str:
        """The execution's id."""
        return f"there is no execution {self.execution!r}"


class JournalError(WorkflowError):
    """The journal could not be read or written; what should have been journaled has not happened (J4)."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        """What the store said."""
        return f"the journal failed: {self.reason}"


class EngineClosedError(WorkflowError):
    """The engine was closed: it takes no command, and answers none that it has not carried out."""

    def __str__(self) -> str:
        """Nothing to name: there is one reason."""
        return "the engine is closed"
