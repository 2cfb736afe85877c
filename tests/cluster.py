"""Real schedulers and workers of Dask, and a real Redis server, for the tests that need them.

Redis needs Debian's package redis-server (or valkey-server) on the PATH. Without it tests that want it are skipped, and
say so; with LOCKSTEP_REDIS=required, as in CI, they fail.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from redis import Redis, RedisError

from tests.command_line import ROOT

BOUND: Final = 60
"""Seconds after which a test gives up waiting for a process."""
MISSING: Final = "no redis-server: `apt-get install redis-server` (as root) brings it; nothing shared is tested without"
_MEASURED: Final = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")


def until(holds: Callable[[], Any], child: subprocess.Popen[bytes], what: str) -> Any:
    """Wait for something to hold, as long as a process lives."""
    end = time.monotonic() + BOUND
    while not (found := holds()):
        assert time.monotonic() < end, f"never: {what}"
        with suppress(subprocess.TimeoutExpired):
            pytest.fail(f"before {what}: ended with exit status {child.wait(0.02)}")
    return found


@dataclass
class Processes:
    """Processes that are ended with the test that began them."""

    environment: Mapping[str, str]
    begun: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def begin(self, place: Path, *command: str, **more: str) -> subprocess.Popen[bytes]:
        """One in a folder of its own, where also lies what it and its children leave; nobody measures it."""
        temporary = place / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "TMPDIR": str(temporary), **self.environment, **more}
        given = {name: value for name, value in environment.items() if name not in _MEASURED}
        with (place / "log").open("ab") as log:
            child = subprocess.Popen(
                command, cwd=place, env=given, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.begun.append(child)
        return child

    def end(self) -> None:
        """End them all, and what they have begun."""
        for child in self.begun:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def scheduler(processes: Processes, place: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A scheduler, and its address."""
    file = place / "scheduler.json"
    child = processes.begin(
        place,
        *(sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
        *("--scheduler-file", str(file)),
    )
    told = until(lambda: file.exists() and _json_in(file), child, "a scheduler that says where it is")
    return child, told["address"]


def certificate(place: Path) -> dict[str, str]:
    """One for everybody: what Dask's configuration says of it."""
    command = shutil.which("openssl")
    if command is None:
        pytest.skip("no openssl: there is nobody to make a certificate")
    key, made = str(place / "key.pem"), str(place / "certificate.pem")
    subject = ("-subj", "/CN=lockstep", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    subprocess.run([command, "req", "-x509", *subject, "-keyout", key, "-out", made], check=True, capture_output=True)
    found = {"distributed.comm.default-scheme": "tls", "distributed.comm.tls.ca-file": made}
    for who in ("scheduler", "worker", "client"):
        found |= {f"distributed.comm.tls.{who}.cert": made, f"distributed.comm.tls.{who}.key": key}
    return found


def in_environment(configuration: Mapping[str, str]) -> dict[str, str]:
    """Dask's configuration as variables."""
    return {f"DASK_{name.replace('.', '__').replace('-', '_').upper()}": value for name, value in configuration.items()}


def another_python() -> str:
    """One of another version, as ``make exact`` has furnished it: with all that a worker needs."""
    for python in sorted(ROOT.glob(".lockstep/exact/python-*/bin/python")):
        able = subprocess.run([python, "-c", "import distributed"], capture_output=True, check=False).returncode == 0
        if able and not python.parent.parent.name.startswith(
            f"python-{sys.version_info.major}.{sys.version_info.minor}."
        ):
            return str(python)
    pytest.skip("no other Python with Dask in .lockstep/exact: `make exact` brings them")


def _json_in(file: Path) -> Any:
    with suppress(ValueError):
        return json.loads(file.read_text())
    return None


def worker(
    processes: Processes, place: Path, address: str, *options: str, python: str = sys.executable, **more: str
) -> subprocess.Popen[bytes]:
    """Workers, as on a machine of their own: nothing is shared but the network."""
    command = (python, "-m", "dask", "worker", address, "--nthreads", "1", "--no-dashboard")
    return processes.begin(place, *command, "--local-directory", str(place), *options, **more)


@dataclass
class Server:
    """A Redis server."""

    process: subprocess.Popen[bytes]
    address: str

    @property
    def redis(self) -> Redis:
        """What asks it."""
        return Redis.from_url(self.address)

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        self.process.kill()
        self.process.wait()


def redis_server(processes: Processes, place: Path) -> Server:
    """A server that keeps all in memory, at a port that was free."""
    command = shutil.which("redis-server") or shutil.which("valkey-server")
    if command is None:
        (pytest.fail if os.environ.get("LOCKSTEP_REDIS") == "required" else pytest.skip)(MISSING)
    port = str(free_port())
    child = processes.begin(place, command, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    server = Server(child, f"redis://127.0.0.1:{port}/0")
    until(lambda: _answers(server.redis), child, "a Redis server that answers")
    return server


def _answers(redis: Redis) -> bool:
    with suppress(RedisError):
        return bool(redis.ping())
    return False


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
