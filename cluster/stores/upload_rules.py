"""What may become of an upload, whatever the store."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

from cluster.errors import Refused
from cluster.stores.ports import Upload, UploadState

#: States of a file whose rows are in history.
AFTER_COMMIT = (UploadState.COMMITTED, UploadState.DONE)
#: States of a file of which nothing was stored, and nothing will be unless it begins again.
BROKEN_OFF = (UploadState.FAILED, UploadState.CANCELLED)
#: States in which nobody works on a file any more.
ENDED = (UploadState.DONE, *BROKEN_OFF)


def check_same_file(known: Upload, upload: Upload) -> None:
    """Raise Refused when one key stands for two files."""
    if known.sha256 != upload.sha256:
        raise Refused(
            f"idempotency key '{known.idempotency_key}' already stands for upload {known.upload_id} with other content "
            "(sha256 differs): use a new key for a new file",
        )


def check_move(known: Upload, state: UploadState) -> None:
    """Raise Refused unless `known` may become `state`: only a commit leads into history, and nothing leads out.

    Nor does anything lead out of FAILED and CANCELLED but `begin_upload`, so that whoever still works on the file notices.
    """
    if known.state in AFTER_COMMIT:
        allowed = state in (known.state, UploadState.DONE)
        reason = "its rows are in history"
    elif known.state in BROKEN_OFF:
        allowed = state is known.state
        reason = "it ended, and is worked on only when it is sent again or retried"
    else:
        allowed = state not in AFTER_COMMIT
        reason = "only commit_upload makes it COMMITTED"
    if not allowed:
        raise Refused(f"upload {known.upload_id} is {known.state} and cannot become {state}: {reason}")


def check_complete(upload_id: str, ranges: Collection[tuple[int, int]], expected: int) -> None:
    """Raise Refused unless `expected` pieces are there and no two account for the same row."""
    if len(ranges) != expected:
        raise Refused(f"upload {upload_id} has {len(ranges)} of {expected} pieces: append the others, then commit again")
    if any(before[1] > after[0] for before, after in pairwise(sorted(ranges))):
        raise Refused(f"upload {upload_id}: two pieces have the same rows; this is a fault of the splitter")


def no_transaction(upload_id: str) -> Refused:
    """Return the error for a file whose transaction was never opened, was ended, or went with the writer's process."""
    return Refused(f"upload {upload_id} has no open transaction (the writer may have restarted): open it again")


def other_origin(upload_id: str) -> Refused:
    """Return the error for a piece that was made under other definitions than the file was opened for."""
    return Refused(f"upload {upload_id} was opened for another origin or registry version: open it again")
