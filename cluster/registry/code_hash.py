"""What a function computes, as one hash: its own text and everything of the repository that it uses.

A changed comment in an unrelated function is no new feature; a changed helper, constant or lookup table is one.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import pandas as pd

_PLAIN = (str, bytes, int, float, complex, bool, type(None))
_LIBRARIES = tuple(Path(path).resolve() for path in {sys.prefix, sys.base_prefix})
_OURS = Path(__file__).resolve().parents[2]
_PACKAGES = {"cluster", "raytide"}


def code_hash(function: Callable[..., Any]) -> str:
    """Return the SHA-256 of a function's text, its defaults, and the globals that it names, each by what it is.

    Functions and modules of the repository count by their text, data by its content, a library by its name.
    """
    digest = hashlib.sha256()
    for part in _parts(function, set()):
        digest.update(f"{len(part)} {part}".encode())
    return digest.hexdigest()


def _parts(value: Any, seen: set[int]) -> Iterator[str]:
    if isinstance(value, _PLAIN):
        yield repr(value)
    elif id(value) in seen:
        yield "again"
    else:
        seen.add(id(value))
        yield from _parts_of_object(value, seen)


def _parts_of_object(value: Any, seen: set[int]) -> Iterator[str]:
    if digest := getattr(value, "digest", None):  # a lookup table, which knows its content
        yield str(digest)
    elif isinstance(value, FunctionType):
        yield from _of_function(value, seen)
    elif isinstance(value, partial):
        yield from _of_sequence((value.func, value.args, value.keywords), seen)
    elif isinstance(value, Mapping):
        yield from _of_sequence([part for item in value.items() for part in item], seen)
    elif isinstance(value, set | frozenset):
        yield from _of_sequence(sorted(value, key=repr), seen)
    elif isinstance(value, list | tuple):
        yield from _of_sequence(value, seen)
    elif isinstance(value, np.ndarray | pd.Series | pd.DataFrame | pd.Index):
        yield from _of_array(value)
    elif isinstance(value, ModuleType | type):
        yield _of_module_or_class(value)
    elif callable(inner := getattr(value, "function", None)):  # a feature that calls another one's function
        yield from _parts(inner, seen)
    else:
        yield f"{type(value).__module__}.{type(value).__qualname__}"


def _of_function(function: FunctionType, seen: set[int]) -> Iterator[str]:
    if not _is_ours(getattr(inspect.getmodule(function), "__file__", function.__code__.co_filename)):
        yield f"{function.__module__}.{function.__qualname__}"
        return
    yield _text(function)
    yield from _of_sequence((function.__defaults__, function.__kwdefaults__), seen)
    for cell in function.__closure__ or ():
        yield from _parts(cell.cell_contents, seen)
    for name in sorted(set(_names(function.__code__))):
        if name in function.__globals__:
            yield name
            yield from _parts(function.__globals__[name], seen)


def _names(code: CodeType) -> Iterator[str]:
    """Return the names that a function looks up, also in the functions within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _of_sequence(values: Any, seen: set[int]) -> Iterator[str]:
    yield f"{type(values).__name__} of {len(values)}"
    for value in values:
        yield from _parts(value, seen)


def _of_array(value: Any) -> Iterator[str]:
    data = pd.Series(value.ravel()) if isinstance(value, np.ndarray) else value
    yield f"{type(value).__name__} {getattr(value, 'shape', '')}"
    yield hashlib.sha256(pd.util.hash_pandas_object(data).to_numpy().tobytes()).hexdigest()


def _of_module_or_class(value: ModuleType | type) -> str:
    """Return the text of one of the repository, the name of another. What a module uses in turn is not followed."""
    module = inspect.getmodule(value)
    if module is None or not _is_ours(getattr(module, "__file__", None)):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', getattr(value, '__name__', ''))}"
    return _text(value)


def _text(value: Any) -> str:
    """Return the source text; where that cannot be read, as in a function made by exec, what it was compiled to."""
    try:
        return inspect.getsource(value)
    except (OSError, TypeError):
        code = getattr(value, "__code__", None)
        return f"{code.co_code!r} {code.co_consts!r} {code.co_names}" if code else f"{value!r}"


def _is_ours(file: str | None) -> bool:
    """Answer whether a file belongs to the user's repository, not to Python, a library or Raytide."""
    if not file or file.startswith("<"):
        return bool(file)
    path = Path(file).resolve()
    if path.is_relative_to(_OURS) and path.relative_to(_OURS).parts[0] in _PACKAGES:
        return False
    return "site-packages" not in path.parts and not any(path.is_relative_to(library) for library in _LIBRARIES)
