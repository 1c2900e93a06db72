"""Reads a user's `definitions.py` into a catalog, and ships catalogs to other processes."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import cloudpickle

from cluster.errors import Misconfigured
from cluster.registry.catalog import Catalog, build
from cluster.registry.code_hash import code_hash
from cluster.registry.definitions import FeatureFunction
from cluster.registry.places import Misplaced, last_place

#: Ours, when a feature repository is a folder of Raytide's own source tree: loading them twice would make two of each class.
_OURS = {"actors", "cluster", "featurestore", "generator", "raytide"}
_ONE_AT_A_TIME = threading.RLock()


def load(project: str, definitions: Path) -> Catalog:
    """Import `definitions` and the modules beside it that it imports, and collect what it defines.

    Every call reads the files again, and keeps their modules to itself: two repositories may use the same file names.
    So import helper modules at the top of a module, not within functions. Raise Misconfigured when the file is missing,
    does not import, or defines something contradictory.
    """
    if not definitions.is_file():
        raise Misconfigured(f"no definitions at {definitions}: create the file, or set `definitions` in feature_store.yaml")
    path = definitions.resolve()
    with _ONE_AT_A_TIME, _private_imports(path.parent) as brought:
        module = _execute(path)
        modules = brought()
        for shipped in modules:
            # By value: workers on other nodes do not have the user's repository.
            cloudpickle.register_pickle_by_value(shipped)
        with _named(definitions):
            return _hashed(build(project, vars(module).values()))


def to_bytes(catalog: Catalog) -> bytes:
    """Return the catalog with its functions, for a worker that lacks the user's repository.

    Raise Misconfigured naming the feature whose function uses something that cannot be shipped, such as a connection.
    """
    try:
        data: bytes = cloudpickle.dumps(catalog)
    except Exception as error:  # whatever a user's object raises when it is pickled
        raise Misconfigured(f"{_unshippable(catalog)} cannot be sent to workers: {type(error).__name__}: {error}") from error
    return data


def from_bytes(data: bytes) -> Catalog:
    """Undo `to_bytes`. Only for data that this cluster made: unpickling runs code."""
    catalog: Catalog = cloudpickle.loads(data)
    return catalog


def _execute(path: Path) -> ModuleType:
    """Run the file as a module, from its source: byte code may be older than the last edit."""
    module = ModuleType("raytide_definitions")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    try:
        exec(compile(path.read_bytes(), path, "exec"), vars(module))  # noqa: S102 - running the user's code is the point
    except Misplaced:
        raise
    except SyntaxError as error:
        place = f"{error.filename}:{error.lineno}" if error.filename else str(path)
        raise Misplaced(place, f"does not import: SyntaxError: {error.msg}") from error
    except (Exception, SystemExit) as error:
        place = last_place(error.__traceback__, str(path.parent)) or str(path)
        text = str(error) if isinstance(error, Misconfigured) else f"does not import: {type(error).__name__}: {error}"
        raise Misplaced(place, text) from error
    return module


@contextmanager
def _named(definitions: Path) -> Iterator[None]:
    """Let an error from inside say at least in which file it is."""
    try:
        yield
    except Misplaced:
        raise
    except Misconfigured as error:
        raise Misconfigured(f"{definitions}: {error}") from error


@contextmanager
def _private_imports(root: Path) -> Iterator[Callable[[], list[ModuleType]]]:
    """Make `root` importable; yield a function that lists what was imported from it, and forget all that at the end."""
    hidden = {name: sys.modules.pop(name) for name in _namesakes(root)}
    before, wrote_no_bytecode = set(sys.modules), sys.dont_write_bytecode

    def brought() -> dict[str, ModuleType]:
        return {name: m for name, m in list(sys.modules.items()) if name not in before and _lives_under(m, root)}

    sys.path.insert(0, str(root))
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield lambda: list(brought().values())
    finally:
        for name in brought():
            del sys.modules[name]
        sys.modules.update(hidden)
        sys.dont_write_bytecode = wrote_no_bytecode
        sys.path.remove(str(root))


def _namesakes(root: Path) -> list[str]:
    """Return loaded modules that would be taken for the ones in `root`."""
    files = {file.stem for file in root.glob("*.py")} | {file.parent.name for file in root.glob("*/__init__.py")}
    names = files - _OURS - sys.stdlib_module_names
    return [name for name in sys.modules if name.partition(".")[0] in names]


def _lives_under(module: ModuleType, root: Path) -> bool:
    places = [getattr(module, "__file__", None)] if getattr(module, "__file__", None) else list(getattr(module, "__path__", ()))
    return any(Path(place).resolve().is_relative_to(root) and "site-packages" not in place for place in places if place)


def _hashed(catalog: Catalog) -> Catalog:
    """Return the catalog with a hash of each function, and one of everything, the same wherever the repository lies."""
    found = [f for view in catalog.views.values() for f in (*view.features, view.where)]
    functions = [f for f in found if isinstance(f, FeatureFunction)]
    catalog = replace(catalog, code={f.name: code_hash(f.function) for f in functions})
    text = json.dumps(catalog.describe(), sort_keys=True)
    return replace(catalog, content_hash=hashlib.sha256(text.encode()).hexdigest())


def _unshippable(catalog: Catalog) -> str:
    for view in catalog.views.values():
        parts = {f"feature '{item.name}'": item for item in view.features} | {"'where'": view.where}
        for name, part in parts.items():
            try:
                cloudpickle.dumps(part)
            except Exception:  # noqa: BLE001 - the caller reports the cause; this only finds the name
                return f"{name} of view '{view.name}'"
    return "the definitions"
