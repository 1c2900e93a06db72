"""Reads a user's `definitions.py` into a catalog, and ships catalogs to other processes."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import cloudpickle

from cluster.errors import Misconfigured
from cluster.registry.catalog import Catalog, build


def load(project: str, definitions: Path) -> Catalog:
    """Import `definitions` (its folder is importable meanwhile) and collect what it defines.

    Raise Misconfigured when the file is missing, does not import, or defines something contradictory.
    """
    if not definitions.is_file():
        raise Misconfigured(f"no definitions at {definitions}: create the file, or set `definitions` in feature_store.yaml")
    before = set(sys.modules)
    module = _import(definitions)
    root = definitions.resolve().parent
    helpers = [m for name, m in list(sys.modules.items()) if name not in before and _lives_under(m, root)]
    for shipped in (module, *helpers):
        # By value: workers on other nodes do not have the user's repository.
        cloudpickle.register_pickle_by_value(shipped)
    return build(project, vars(module).values(), content_hash=_hash(module, *helpers))


def to_bytes(catalog: Catalog) -> bytes:
    """Return the catalog with its functions, for a worker that lacks the user's repository."""
    data: bytes = cloudpickle.dumps(catalog)
    return data


def from_bytes(data: bytes) -> Catalog:
    """Undo `to_bytes`. Only for data that this cluster made: unpickling runs code."""
    catalog: Catalog = cloudpickle.loads(data)
    return catalog


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"raytide_definitions_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise Misconfigured(f"{path} is not a Python file: name a .py file under `definitions` in feature_store.yaml")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise Misconfigured(f"{path} does not import: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    return module


def _lives_under(module: ModuleType, root: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve().is_relative_to(root) and "site-packages" not in file


def _hash(*modules: ModuleType) -> str:
    digest = hashlib.sha256()
    for module in sorted(modules, key=lambda m: m.__name__):
        digest.update(module.__name__.encode())
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()
