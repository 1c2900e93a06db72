"""DuckDB's exceptions, named after what the caller should do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from cluster.errors import RaytideError, Refused, RetryLater

#: After these the database in memory is invalid: every further statement fails until the process opens the file again.
FATAL = (duckdb.FatalException, duckdb.InternalException)

#: The disk, memory, or somebody else's transaction; the same statement may succeed later.
TRANSIENT = (
    duckdb.IOException,
    duckdb.OutOfMemoryException,
    duckdb.TransactionException,
    duckdb.InterruptException,
    duckdb.ConnectionException,
)


class Health:
    """Whether this process can still write. Once lost it stays lost: the writer's process must be replaced."""

    def __init__(self) -> None:
        self._cause: str | None = None

    def __bool__(self) -> bool:
        return self._cause is None

    def lose(self, cause: str) -> None:
        """Note why nothing can be written any more."""
        self._cause = self._cause or cause

    def loss(self) -> RetryLater | None:
        """Return the error to answer with once health is lost."""
        return None if self._cause is None else RetryLater(f"the writer must be restarted: {self._cause}")

    def check(self) -> None:
        """Raise RetryLater when health is lost."""
        if (loss := self.loss()) is not None:
            raise loss

    def translate(self, error: duckdb.Error, what: str) -> RaytideError:
        """Return the error to raise for `what` (a noun phrase such as "commit of 3 batches")."""
        if isinstance(error, FATAL):
            self.lose(f"DuckDB gave up: {_cause(error)}")
            return RetryLater(f"{what}: the writer must be restarted, DuckDB gave up: {_cause(error)}")
        if isinstance(error, TRANSIENT):
            return RetryLater(f"{what}: {_cause(error)}; nothing was written, try again")
        return Refused(f"{what}: DuckDB refuses it ({_cause(error)}); nothing was written")

    @contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Let nothing of DuckDB's errors out of `what`; refuse to begin when health is lost."""
        self.check()
        try:
            yield
        except duckdb.Error as error:
            raise self.translate(error, what) from error


def _cause(error: duckdb.Error) -> str:
    # The first line says what is wrong; later lines quote the statement.
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
