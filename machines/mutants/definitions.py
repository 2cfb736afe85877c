"""Definitions: engines that refuse what is valid, or take what is not."""

from __future__ import annotations

from typing import Final

from machines.mutants.planting import Edit, Mutant

MUTANTS: Final = (
    Mutant(
        "no_wait_is_no_interval",
        "valid_definition_starts",
        "D3",
        "Retries that follow at once, after an interval of 0, are refused.",
        (
            Edit(
                "engine.policies",
                "if number is None or number < least:",
                "if number is None or number < max(least, 0.1):",
            ),
        ),
        "rush86999/atom",
    ),
    Mutant(
        "first_fault_only",
        "every_fault_is_named",
        "D3",
        "Of a definition with several faults the first one is named.",
        (
            Edit(
                "engine.shapes",
                "raise DefinitionError(tuple(self.found))",
                "raise DefinitionError(tuple(self.found[:1]))",
            ),
        ),
        "apache/dolphinscheduler#18025",
    ),
    Mutant(
        "any_step_may_be_named",
        "nothing_broken_is_created",
        "D3",
        "A reference to a step that is no ancestor is accepted.",
        (Edit("engine.definition", "if (used, user) in wrong:", "if used == user and wrong:"),),
        "fission/fission-workflows#42",
    ),
    Mutant(
        "a_list_comes_as_a_surprise",
        "odd_input_is_named",
        "D5",
        "An input that is no object is refused with whatever error Python has for it.",
        (
            Edit(
                "engine.workflow_engine",
                'raise InputError(name, ("$: not a JSON object",))',
                'raise TypeError(f"{name} must be an object")',
            ),
        ),
    ),
    Mutant(
        "conditions_lost_in_conversion",
        "converted_as_it_is",
        "D2",
        "A graph is converted to steps without the conditions of its connections.",
        (
            Edit(
                "engine.graph",
                'append(source if plain else {"source": source, "condition": arrow.condition})',
                "append(source if plain or arrow.condition else {})",
            ),
        ),
        "camunda/camunda#19634",
        machines=("definitions",),
    ),
)
