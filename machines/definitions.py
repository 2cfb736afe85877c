"""The machine of definitions: valid ones in every shape start, broken ones are refused with all their faults (D3)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from machines.dressing import KINDS, dressed
from machines.kinship import KIN, kin
from machines.lifecycle import WorldMachine
from machines.moves import Convert, Elapse, Run
from machines.questions import QUESTIONS, questions
from machines.reach import DEFINITIONS, STARTED
from machines.spoiling import MISSHAPEN, RINGS, UNSOUND, Spoilt, rings, unsound
from machines.strategies import INPUTS, TAPES, WORKFLOWS, Drawn
from machines.tape import PLAIN, Tape


class DefinitionMachine(WorldMachine):
    """Definitions of both shapes, good and broken in every way that D3 names, given to one engine."""

    goals = DEFINITIONS
    purposes: ClassVar[Collection[str]] = (STARTED, "broken steps are refused", "a broken graph is refused")

    @initialize(limit=st.integers(1, 3))
    def begin(self, limit: int) -> None:
        """Have an engine."""
        self.open(limit)

    @precondition(lambda self: self.world is not None)
    @rule(drawn=WORKFLOWS, given=INPUTS, kind=st.integers(0, KINDS - 1), graph=st.booleans(), tape=TAPES)
    def valid(self, drawn: Drawn, given: dict[str, Any], kind: int, graph: bool, tape: Tape) -> None:
        """A valid definition starts, in either shape and in whatever dress."""
        definition, manners = dressed(drawn, kind, graph=graph)
        self.play(Run(definition, given, manners), tape)

    @precondition(lambda self: self.world is not None)
    @rule(chance=st.binary(min_size=2 + 3 * QUESTIONS, max_size=2 + 3 * QUESTIONS), tape=TAPES)
    def conditions(self, chance: bytes, tape: Tape) -> None:
        """Conditions are decided, whatever they say and whatever they find."""
        self.play(questions(chance), tape)

    @precondition(lambda self: self.world is not None)
    @rule(
        breaks=st.lists(
            st.tuples(
                st.sampled_from(("value", "identity", "setting", "value", "title", "value")), st.integers(0, 255)
            ),
            min_size=1,
            max_size=4,
        ),
        graph=st.booleans(),
        tape=TAPES,
    )
    def broken(self, breaks: list[tuple[str, int]], graph: bool, tape: Tape) -> None:
        """A definition with faults of its own making is refused, and each is named."""
        spoilt = Spoilt(*(f"s{rank}" for rank in range(len(breaks))))
        ways: Mapping[str, Callable[[int, int], None]] = {
            "value": spoilt.value,
            "identity": spoilt.identity,
            "title": spoilt.title,
            "setting": spoilt.setting,
        }
        for step, (way, rank) in enumerate(breaks):
            ways[way](step, rank)
        definition, faults = spoilt.definition(graph=graph)
        self.play(Run(definition, {}, {}, faults), tape)

    @precondition(lambda self: self.world is not None)
    @rule(kind=st.integers(0, len(UNSOUND) + len(MISSHAPEN) - 1), graph=st.booleans(), tape=TAPES)
    def unsound(self, kind: int, graph: bool, tape: Tape) -> None:
        """A definition whose connections, ids or references do not fit together is refused, or one of no shape."""
        definition, faults = unsound(kind, graph=graph)
        self.play(Run(definition, {}, {}, faults), tape)

    @precondition(lambda self: self.world is not None)
    @rule(chance=st.binary(min_size=RINGS, max_size=RINGS), graph=st.booleans(), tape=TAPES)
    def cyclic(self, chance: bytes, graph: bool, tape: Tape) -> None:
        """A definition with cycles is refused, and each is named."""
        definition, faults = rings(chance, graph=graph)
        self.play(Run(definition, {}, {}, faults), tape)

    @precondition(lambda self: self.world is not None)
    @rule(chance=st.binary(min_size=KIN, max_size=KIN), graph=st.booleans(), tape=TAPES)
    def related(self, chance: bytes, graph: bool, tape: Tape) -> None:
        """Steps ask for the outputs of others; where these are no ancestors, the definition is refused."""
        definition, faults, manners = kin(chance, graph=graph)
        self.play(Run(definition, {}, manners, faults), tape)

    @precondition(lambda self: self.can("conversion"))
    @rule(drawn=WORKFLOWS, kind=st.integers(0, KINDS - 1), tape=TAPES)
    def convert(self, drawn: Drawn, kind: int, tape: Tape) -> None:
        """A graph is converted to steps."""
        self.play(Convert(dressed(drawn, kind, graph=True).definition), tape)

    @precondition(lambda self: self.can("conversion"))
    @rule(chance=st.binary(min_size=RINGS, max_size=RINGS), tape=TAPES)
    def convert_cyclic(self, chance: bytes, tape: Tape) -> None:
        """A graph with cycles is not converted, and each is named."""
        self.play(Convert(*rings(chance, graph=True)), tape)

    @precondition(lambda self: self.world is not None and self.world.astir())
    @rule(seconds=st.sampled_from((0.001, 1.0)))
    def elapse(self, seconds: float) -> None:
        """Time passes, and commands that are on their way arrive."""
        self.play(Elapse(seconds), PLAIN)
