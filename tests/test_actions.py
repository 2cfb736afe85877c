"""The built-in actions do what they say, refuse what they do not understand, and leave nothing running."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Iterator
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from engine import actions
from engine.actions import ACTIONS, OUTPUT_LIMIT, ActionError, ParameterError
from engine.driver import ActionContext
from engine.values import json_value
from machines.loop import SimulatedLoop


def context(attempt: int = 1) -> ActionContext:
    return ActionContext("e", "a", attempt, f"e/a/{attempt}")


def call(action: str, attempt: int = 1, **parameters: object) -> Awaitable[Any]:
    return ACTIONS[action](parameters, context(attempt))


async def result(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def simulated(awaitable: Awaitable[Any]) -> tuple[Any, float]:
    """What it returns, and the seconds that passed."""
    loop = SimulatedLoop()
    try:
        return loop.run(result(awaitable)), loop.time()
    finally:
        loop.close()
        assert loop.errors == []


def really(awaitable: Awaitable[Any]) -> Any:
    return asyncio.run(result(awaitable))


# wait, echo, fail


@pytest.mark.parametrize("seconds", [0, 0.0, 1, 0.000001, 86400, 1e9])
def test_wait_takes_its_seconds(seconds: float) -> None:
    assert simulated(call("wait", seconds=seconds)) == ({"seconds": seconds}, seconds)


@pytest.mark.parametrize("seconds", [None, -1, -0.5, nan, inf, True, "1", [1], 10**4000], ids=str)
def test_wait_refuses_what_is_no_time(seconds: object) -> None:
    with pytest.raises(ParameterError, match=r"wait: parameters\.seconds must be a finite number of at least 0, not "):
        simulated(call("wait", seconds=seconds))


def test_a_parameter_error_names_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"^wait: parameters\.second is unknown: it takes seconds$"):
        simulated(call("wait", second=1))
    with pytest.raises(ParameterError, match=r"^wait: parameters\.seconds must be .*, not None$"):
        simulated(call("wait"))


def test_echo_returns_its_parameters() -> None:
    assert simulated(call("echo", a=1, b={"c": [None]})) == ({"a": 1, "b": {"c": [None]}}, 0)


def test_fail_fails_every_attempt() -> None:
    for attempt in (1, 2, 100):
        with pytest.raises(ActionError, match=r"^no luck$"):
            simulated(call("fail", attempt, message="no luck"))
    with pytest.raises(ActionError, match="this step is there to fail"):
        simulated(call("fail"))


def test_fail_fails_as_many_times_as_told() -> None:
    for attempt in (1, 2):
        with pytest.raises(ActionError, match="no luck"):
            simulated(call("fail", attempt, message="no luck", times=2))
    assert simulated(call("fail", 3, message="no luck", times=2)) == ({}, 0)
    assert simulated(call("fail", 1, times=0)) == ({}, 0)


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"message": 1}, "message must be a text, not 1"),
        ({"message": None}, "message must be a text, not None"),
        ({"times": -1}, "times must be a whole number of at least 0, not -1"),
        ({"times": 1.0}, "times must be a whole number of at least 0, not 1.0"),
        ({"times": True}, "times must be a whole number of at least 0, not True"),
        ({"time": 1}, "time is unknown: it takes message and times"),
    ],
)
def test_fail_refuses_what_it_does_not_understand(parameters: dict[str, object], problem: str) -> None:
    with pytest.raises(ParameterError) as refusal:
        simulated(ACTIONS["fail"](parameters, context()))
    assert str(refusal.value) == f"fail: parameters.{problem}"


# shell


def test_shell_returns_what_the_command_said() -> None:
    output = really(call("shell", command="echo out; echo err >&2; cat"))
    assert output == {"exit_code": 0, "stdout": "out\n", "stderr": "err\n"}


def test_a_command_does_not_read_what_was_meant_for_us() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"for us")
    os.close(writing)
    ours = os.dup(0)
    os.dup2(reading, 0)
    try:
        assert really(call("shell", command="cat"))["stdout"] == ""
    finally:
        os.dup2(ours, 0)
        os.close(ours)
        os.close(reading)


def test_a_list_is_a_program_and_its_arguments() -> None:
    output = really(call("shell", command=["printf", "%s|", "$HOME *", "two words", ""]))
    assert output["stdout"] == "$HOME *|two words||"


def test_bytes_that_are_no_text_are_replaced() -> None:
    output = really(call("shell", command=r"printf 'a\377\000b'"))
    assert output["stdout"] == "a\ufffd\0b"
    assert json_value(output)


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("echo reason >&2; exit 3", 3, "the command exited with 3: reason"),
        ("exit 255", 255, "the command exited with 255"),
        ("kill -9 $$", -9, "the command was killed by SIGKILL"),
        (["sh", "-c", "echo last words >&2; kill -TERM $$"], -15, "the command was killed by SIGTERM: last words"),
    ],
)
def test_a_command_that_does_not_succeed_is_an_error(command: object, code: int, message: str) -> None:
    with pytest.raises(ActionError) as failure:
        really(call("shell", command=command))
    assert failure.value.exit_code == code
    assert str(failure.value) == message


def test_an_error_holds_the_end_of_a_long_story() -> None:
    story = f"{sys.executable} -c \"import sys; sys.stderr.write('x' * 3000000 + 'the end'); sys.exit(1)\""
    with pytest.raises(ActionError) as failure:
        really(call("shell", command=story))
    assert failure.value.stderr == "x" * 993 + "the end"


@pytest.mark.parametrize("command", [["/no/such/program"], ["/"], ["no-such-program"]], ids=str)
def test_a_program_that_cannot_be_started_is_an_error(command: list[str]) -> None:
    with pytest.raises(ActionError, match=f"^cannot start '{command[0]}': (No such file|Permission)"):
        really(call("shell", command=command))


@pytest.mark.parametrize("command", [None, "", [], [""], 1, ["a", 1], {"a": 1}], ids=str)
def test_shell_refuses_what_is_no_command(command: object) -> None:
    with pytest.raises(ParameterError, match=r"^shell: parameters\.command must be a text or a list of texts"):
        really(call("shell", command=command))
    with pytest.raises(ParameterError, match="NUL"):
        really(call("shell", command=["echo", "a\0b"]))


@pytest.mark.parametrize(("size", "cut"), [(OUTPUT_LIMIT, None), (3 * OUTPUT_LIMIT + 1, 3 * OUTPUT_LIMIT + 1)])
def test_a_long_output_is_cut_and_said_to_be(size: int, cut: int | None) -> None:
    output = really(call("shell", command=[sys.executable, "-c", f"import sys; sys.stdout.write('x' * {size})"]))
    assert output["stdout"] == "x" * OUTPUT_LIMIT
    assert output.get("cut") == (None if cut is None else {"stdout": cut})


def test_there_is_no_shell_in_virtual_time() -> None:
    loop = SimulatedLoop()
    before = open_descriptors()
    with pytest.raises(NotImplementedError, match="not simulated"):
        loop.run(result(call("shell", command="true")))
    loop.close()
    assert open_descriptors() == before


# Nothing is left running. Every process of a command holds the writing end of a FIFO: as long as there is one, the
# FIFO has not ended. No process needs to be found, and no time to pass, to know that all are gone.


class Witness:
    """Knows whether a process that has opened the FIFO is still there."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    async def word(self) -> str:
        """The next thing that somebody says."""
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_reader(self.reading, ready.set_result, None)
        try:
            await ready
        finally:
            loop.remove_reader(self.reading)
        return os.read(self.reading, 1000).decode()

    def anybody(self) -> bool:
        """Whether somebody holds the other end."""
        try:
            while os.read(self.reading, 1000):
                pass
        except BlockingIOError:
            return True
        return False


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    found = Witness(tmp_path / "fifo")
    yield found
    os.close(found.reading)


def open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


FAMILY = "exec 3>{fifo}; sleep 300 & sleep 300 & echo ready >&3; wait"
STUBBORN = "trap '' TERM; exec 3>{fifo}; (trap '' TERM; sleep 300; sleep 300) & echo ready >&3; sleep 300; sleep 300"


@pytest.mark.parametrize("command", [FAMILY, STUBBORN], ids=["family", "stubborn"])
def test_a_cancelled_command_leaves_nothing_running(
    witness: Witness, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "GRACE", 0.2)
    answers: list[bool] = []
    look = actions._anybody

    def note(group: int) -> bool:
        answers.append(look(group))
        return answers[-1]

    monkeypatch.setattr(actions, "_anybody", note)

    async def program() -> None:
        task = asyncio.ensure_future(call("shell", command=command.format(fifo=witness.path)))
        assert await witness.word() == "ready\n"
        assert witness.anybody()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not witness.anybody()

    before = open_descriptors()
    asyncio.run(program())
    assert open_descriptors() == before
    assert answers[-1] is False, "it did not look whether the last one had gone"


def test_a_command_may_clean_up_before_it_goes(witness: Witness) -> None:
    async def program() -> None:
        command = f"exec 3>{witness.path}; trap 'echo cleaned >&3; exit 0' TERM; echo ready >&3; sleep 300 & wait"
        task = asyncio.ensure_future(call("shell", command=command))
        assert await witness.word() == "ready\n"
        task.cancel()
        assert await witness.word() == "cleaned\n"
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not witness.anybody()

    asyncio.run(program())


def test_a_second_cancellation_does_not_wait_for_grace(witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "GRACE", 1000)

    async def program() -> None:
        task = asyncio.ensure_future(call("shell", command=STUBBORN.format(fifo=witness.path)))
        assert await witness.word() == "ready\n"
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0.05)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 60)
        assert not witness.anybody()

    asyncio.run(program())


@pytest.mark.parametrize("turns", range(8))
def test_a_command_cancelled_while_it_starts_leaves_nothing_running(witness: Witness, turns: int) -> None:
    async def program() -> None:
        task = asyncio.ensure_future(call("shell", command=FAMILY.format(fifo=witness.path)))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not witness.anybody()

    before = open_descriptors()
    asyncio.run(program())
    assert open_descriptors() == before


def test_what_a_command_leaves_in_the_background_ends_with_it(witness: Witness) -> None:
    output = really(call("shell", command=f"exec 3>{witness.path}; sleep 300 & echo done"))
    assert output == {"exit_code": 0, "stdout": "done\n", "stderr": ""}
    assert not witness.anybody()


ESCAPE = """
import os
if child := os.fork():
    print(child)
else:
    os.setsid()
    os.execvp("sleep", ["sleep", "300"])
"""


def test_one_that_has_left_the_group_does_not_hold_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is out of reach, and keeps the outputs open; the step ends all the same, with what was said until then."""
    monkeypatch.setattr(actions, "GRACE", 0.1)
    output = really(call("shell", command=[sys.executable, "-c", ESCAPE]))
    os.kill(int(output["stdout"]), signal.SIGKILL)
    assert output["exit_code"] == 0
