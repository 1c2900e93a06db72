"""Every error of ours arrives on the other side of a process boundary as itself."""

from __future__ import annotations

import inspect
import pickle

import pytest

from cluster import errors

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.RaytideError)]


def example(kind: type[errors.RaytideError]) -> errors.RaytideError:
    if kind in (errors.Fenced, errors.Gap):
        return kind("orders", 3, 7, 9)
    return kind("orders[3] is away: start it")


@pytest.mark.parametrize("kind", CLASSES, ids=lambda c: c.__name__)
def test_an_error_survives_pickling(kind: type[errors.RaytideError]) -> None:
    before = example(kind)
    after = pickle.loads(pickle.dumps(before))  # noqa: S301 - we made it
    assert type(after) is kind
    assert str(after) == str(before)
    assert vars(after) == vars(before)


def test_the_tree_in_the_docstring_names_every_class() -> None:
    assert {c.__name__ for c in CLASSES} == {c.__name__ for c in CLASSES if c.__name__ in str(errors.__doc__)}
