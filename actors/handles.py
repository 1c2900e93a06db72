"""Every Ray call on an actor, in one place: names, options, look-up, calls, and what their errors mean.

A call to an actor that is restarting or gone raises RetryLater; an error that the actor's code raised arrives as itself.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from cluster.errors import RaytideError, RetryLater
from cluster.placement import Node

NAMESPACE = "raytide"
WRITER, SUPERVISOR, LIMITER, GATEWAY = "writer", "supervisor", "limiter", "gateway:"
CALL_SECONDS = 60.0
LOOK_SECONDS = 0.05

T = TypeVar("T")


def partition_name(topic: str, partition: int) -> str:
    """Return the actor name of a partition."""
    return f"partition:{topic}:{partition}"


def gateway_name(node: str, number: int) -> str:
    """Return the actor name of one of the processes of a node's gateway, counted from 1."""
    return f"{GATEWAY}{node}:{number}"


def node_of(gateway: str) -> str:
    """Return the short name of a gateway's node."""
    return gateway.removeprefix(GATEWAY).rpartition(":")[0]


def ensure(actor_class: Any, name: str, *args: Any, groups: Mapping[str, int] | None = None, **options: Any) -> Any:
    """Return the actor called `name`, creating it when it is not there.

    Detached and restarted for ever: it lives until somebody kills it, and a dead process is built anew with `args`.
    `groups` are its concurrency groups, which Ray takes with the class only.
    """
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": 0, **options}
    remote = ray.remote(concurrency_groups=dict(groups))(actor_class) if groups else ray.remote(actor_class)
    return remote.options(name=name, namespace=NAMESPACE, lifetime="detached", get_if_exists=True, **options).remote(*args)


def find(name: str) -> Any | None:
    """Return the handle of the actor called `name`, or None when there is none."""
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        return None


def kill(name: str) -> None:
    """End an actor for good, without a restart; one that is not there is fine."""
    if (handle := find(name)) is not None:
        ray.kill(handle, no_restart=True)


def restart(name: str) -> None:
    """End an actor's process; Ray builds it anew. One that is not there is fine."""
    if (handle := find(name)) is not None:
        ray.kill(handle, no_restart=False)


def names() -> list[str]:
    """Return the names of the app's actors."""
    found = ray.util.list_named_actors(all_namespaces=True)
    return sorted(a["name"] for a in found if a["namespace"] == NAMESPACE)


def end(name: str, seconds: float) -> None:
    """End an actor for good, and wait until its name is free, for at most `seconds`."""
    kill(name)
    deadline = time.monotonic() + seconds
    while find(name) is not None and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)  # Ray says so only to those who ask


def node_id() -> str:
    """Return Ray's id of this node: a new one whenever Ray starts on it."""
    return str(ray.get_runtime_context().get_node_id())


def short(node: str) -> str:
    """Return what of a node's id goes into names."""
    return node[:8]


def nodes() -> list[Node]:
    """Return the nodes of the cluster that live."""
    return [Node(n["NodeID"], n["NodeManagerAddress"], n["Labels"]) for n in ray.nodes() if n["Alive"]]


def value(ref: Any, what: str, seconds: float = CALL_SECONDS) -> Any:
    """Wait for a call's answer; errors as `translate` says."""
    try:
        return ray.get(ref, timeout=seconds)
    except Exception as error:  # noqa: BLE001 - every error that Ray carries is translated
        raise translate(error, what) from None


def translate(error: BaseException, what: str) -> BaseException:
    """Return the error that the caller should see for a failed call to `what`."""
    if isinstance(error, RayTaskError):
        cause = error.cause
        return cause if isinstance(cause, RaytideError) else error
    if isinstance(error, GetTimeoutError):
        return RetryLater(f"{what} did not answer in time; try again, and see `raytide status` if it goes on")
    if isinstance(error, RayActorError):
        return RetryLater(f"{what} is restarting; try again in a few seconds")
    if isinstance(error, RayError):
        return RetryLater(f"{what} cannot be reached through Ray ({type(error).__name__}); try again in a few seconds")
    return error


class Remote:
    """A named actor's methods as blocking calls. Survives the actor: a gone one is looked up again by name."""

    def __init__(self, name: str, seconds: float = CALL_SECONDS) -> None:
        self._name, self._seconds = name, seconds
        self._handle: Any | None = None
        self._lock = threading.Lock()

    def call(self, method: str, *args: Any, seconds: float | None = None, **options: Any) -> Any:
        """Call `method` and wait; raise RetryLater when the actor is not there."""
        try:
            return value(self.start(method, *args, **options), self._name, seconds or self._seconds)
        except RetryLater:
            self.forget()
            raise

    def start(self, method: str, *args: Any, **options: Any) -> Any:
        """Call `method` and return Ray's reference to the answer."""
        return getattr(self._found(), method).remote(*args, **options)

    def submit(self, method: str, *args: Any) -> Future[Any]:
        """Call `method` and return a future that ends with the answer or a translated error."""
        answer: Future[Any] = Future()
        self.start(method, *args).future().add_done_callback(lambda done: self._pass_on(done, answer))
        return answer

    def forget(self) -> None:
        """Look the actor up again at the next call."""
        with self._lock:
            self._handle = None

    def _found(self) -> Any:
        with self._lock:
            if self._handle is None:
                self._handle = find(self._name)
            if self._handle is None:
                raise RetryLater(f"{self._name} does not run (yet); see `raytide status`")
            return self._handle

    def _pass_on(self, done: Future[Any], answer: Future[Any]) -> None:
        error = done.exception()
        if error is None:
            answer.set_result(done.result())
            return
        if isinstance(error, RayActorError):
            self.forget()
        answer.set_exception(translate(error, self._name))


def quietly(call: Callable[[], T], otherwise: T) -> T:
    """Return what `call` returns, or `otherwise` when the actor behind it does not answer."""
    with contextlib.suppress(RetryLater, RayError):
        return call()
    return otherwise
