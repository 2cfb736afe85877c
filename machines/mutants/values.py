"""Conditions and values: engines that resolve, check or pass on values wrongly."""

from __future__ import annotations

from typing import Final

from machines.mutants.planting import Edit, Mutant

_CORE: Final = "engine.transitions"
_ENGINE: Final = "engine.workflow_engine"
_REFERENCES: Final = "engine.references"
_STATE: Final = "engine.state"

MUTANTS: Final = (
    Mutant(
        "null_is_no_input",
        "created_as_asked",
        "K5",
        "What is null in the input is left out when an execution is created.",
        (
            Edit(
                _ENGINE,
                'values = _object("input", input_data)',
                'values = {name: value for name, value in _object("input", input_data).items() if value is not None}',
            ),
        ),
        "rush86999/atom",
    ),
    Mutant(
        "expanded_again",
        "parameters_as_resolved",
        "V2",
        "A value that looks like a reference is expanded again.",
        (
            Edit(
                _REFERENCES,
                "return fresh(_value(parts[0], scope, missing))",
                "return _resolve(fresh(_value(parts[0], scope, missing)), scope, missing)",
            ),
        ),
        "rush86999/atom",
    ),
    Mutant(
        "resume_brings_enough",
        "started_with_its_input",
        "P4",
        "After a resume that brought something, a step starts whatever it still misses.",
        (
            Edit(
                _CORE,
                "            if len(inputs) == len(error.paths):\n",
                "            if len(inputs) == len(error.paths) and len(state.inputs) > 1:\n"
                "                decision.ready.append(index)\n"
                "                return True\n"
                "            if len(inputs) == len(error.paths):\n",
            ),
        ),
    ),
    Mutant(
        "doubt_is_true",
        "started_with_values_that_hold",
        "V4",
        "A condition that cannot be evaluated counts as true.",
        (
            Edit(
                _CORE,
                "        _give_up(decision, step, 0, error)\n        return False\n    if not taken:",
                "        taken = error is not None\n    if not taken:",
            ),
        ),
        "rush86999/atom",
    ),
    Mutant(
        "missing_input_fails",
        "unresolved_reference_fails",
        "V3",
        "After a resume that brought something, a step that still misses an input fails.",
        (
            Edit(
                _CORE,
                'if path.partition(".")[0] == "input"]',
                'if path.partition(".")[0] == "input" and len(state.inputs) == 1]',
            ),
        ),
        "rush86999/atom",
    ),
    Mutant(
        "checked_before_it_is_resolved",
        "faulty_parameters_fail",
        "V4",
        "The input schema is checked against the parameters as they were defined, not as resolved.",
        (Edit(_CORE, "step.input_schema.faults(resolved)", "step.input_schema.faults(step.parameters)"),),
    ),
    Mutant(
        "condition_of_a_skipped_source",
        "faulty_condition_fails",
        "V5",
        "The condition of a connection is looked at even if its source was skipped.",
        (
            Edit(
                _CORE,
                "        if passed and connection.condition is not None:\n"
                "            passed = connection.condition.evaluate(step.id, state.scope())",
                "        if connection.condition is not None:\n"
                "            passed = connection.condition.evaluate(step.id, state.scope()) and passed",
            ),
        ),
        "apache/airflow#12959",
    ),
    Mutant(
        "output_schema_ignored",
        "output_holds",
        "V4",
        "A step's output schema is accepted, and ignored.",
        (Edit(_CORE, "return step.output_schema.faults(value) if step.output_schema else ()", "return ()"),),
        "camunda/camunda#19634",
    ),
    Mutant(
        "null_is_no_output",
        "output_as_returned",
        "V2",
        "An output of null is recorded as an empty object.",
        (
            Edit(
                _CORE,
                "decision.emit(StepCompleted(decision.at, step.id, attempt, value))",
                "decision.emit(StepCompleted(decision.at, step.id, attempt, {} if value is None else value))",
            ),
        ),
        "rush86999/atom",
    ),
    Mutant(
        "first_missing_path_only",
        "missing_inputs_named",
        "P4",
        "Of several inputs that a step misses, the first is named.",
        (Edit(_CORE, "missing[step.id] = inputs", "missing[step.id] = inputs[:1]"),),
        "rush86999/atom",
    ),
    Mutant(
        "null_is_missing",
        "missing_inputs_named",
        "P4",
        "An input of null is taken for missing.",
        (
            Edit(
                _REFERENCES,
                "    if value is _ABSENT:\n        missing.setdefault(reference.text)",
                "    if value is _ABSENT or value is None:\n        missing.setdefault(reference.text)",
            ),
        ),
        "rush86999/atom",
    ),
    Mutant(
        "waits_for_a_value_for_ever",
        "missing_path_fails",
        "V3",
        "A step with a reference that can never be resolved waits for it.",
        (
            Edit(
                _CORE,
                "return _give_up(decision, step, 0, UnresolvedReferenceError(step.id, path))",
                "return path is not None",
            ),
        ),
        "argoproj/argo-workflows#15837",
    ),
    Mutant(
        "todays_input_for_all",
        "parameters_as_resolved",
        "V2",
        "A step's later attempts get parameters made of the input as resumes have left it.",
        (Edit(_STATE, "version = self.pinned.get(step, 0)", "version = -1"),),
    ),
    Mutant(
        "merged_at_the_top",
        "missing_inputs_named",
        "P4",
        "What a resume brings replaces objects of the input instead of being merged into them.",
        (
            Edit(
                _STATE, "if isinstance(found, dict) and isinstance(value, dict):", "if found is None and value is None:"
            ),
        ),
    ),
)
