"""`stack.json`: what this folder's stack started, so that a later command, or one after a crash, knows what is its own."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.errors import Misconfigured
from cluster.stack.process import HOST, ProcessId

FILE_NAME = "stack.json"
_LOCK_NAME = "stack.lock"


@dataclass(frozen=True, slots=True)
class Service:
    """A started process: the first of `ports` is the one that clients use. `log` is the file to look into."""

    name: str
    process: ProcessId
    ports: tuple[int, ...]
    log: str
    note: str = ""
    host: str = HOST


def read(folder: Path) -> tuple[Service, ...]:
    """Return what was started, running or not; raise Misconfigured when the file is not ours."""
    file = folder / FILE_NAME
    try:
        services = json.loads(file.read_text(encoding="utf-8"))["services"]
        return tuple(_service(item) for item in services)
    except FileNotFoundError:
        return ()
    except (ValueError, KeyError, TypeError) as error:
        raise Misconfigured(f"{file} is not a state file of the local stack ({error}): delete it") from error


def write(folder: Path, services: tuple[Service, ...], addresses: dict[str, str | None]) -> None:
    """Replace the file in one step; `addresses` is for people and other programs."""
    content = json.dumps({**addresses, "services": [asdict(service) for service in services]}, indent=2)
    staged = folder / f".{FILE_NAME}.{os.getpid()}"
    staged.write_text(content + "\n", encoding="utf-8")
    staged.replace(folder / FILE_NAME)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one command at a time change the stack of `folder`; a crash lets go."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK_NAME).open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _service(item: dict[str, object]) -> Service:
    fields = dict(item)
    process, ports = fields.pop("process"), fields.pop("ports")
    return Service(process=ProcessId(**process), ports=tuple(ports), **fields)  # type: ignore[arg-type]
