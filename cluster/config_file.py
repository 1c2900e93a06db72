"""Reading `feature_store.yaml`, and saying what is wrong with it without quoting it: any value may be a secret."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import SettingsError

from cluster.errors import Misconfigured


def read_yaml(file: Path) -> dict[str, Any]:
    """Return the sections of a file; raise Misconfigured when it is missing or no such file."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise Misconfigured(
            f"no {file.name} at {file}: run where feature_store.yaml is, or name its folder with --project"
        ) from None
    except yaml.MarkedYAMLError as error:  # its own text quotes the line
        line = f"line {error.problem_mark.line + 1}" if error.problem_mark else "a line"
        raise Misconfigured(f"{file} cannot be read: {line} is not YAML; see its quotes, brackets and indents") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        cause = getattr(error, "strerror", None) or type(error).__name__
        raise Misconfigured(f"{file} cannot be read ({cause}): give a YAML file in UTF-8") from None
    if not isinstance(content, dict):
        raise Misconfigured(f"{file} must be a mapping of sections, such as `project: my_project`")
    return content


@contextmanager
def explained(where: str, model: type[BaseModel]) -> Iterator[None]:
    """Raise Misconfigured for what pydantic finds wrong while `model` is built from the file at `where`."""
    try:
        yield
    except ValidationError as error:
        raise Misconfigured(f"{where}:\n" + "\n".join(f"  {_sentence(e, model)}" for e in error.errors())) from None
    except SettingsError as error:  # a whole section in one variable; pydantic quotes its field's name first
        name = "RAYTIDE_" + str(error).split('"')[1].upper()
        raise Misconfigured(f"{name} is not JSON: write {name}__FIELD=VALUE") from None


def _sentence(error: Any, model: type[BaseModel]) -> str:
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{path}: is required; add `{path}: my_{path}`"
    if error["type"] != "extra_forbidden":
        return f"{path}: {error['msg']}"  # never `input`: it may be a secret
    *parents, key = [str(part) for part in error["loc"]]
    known = _keys(parents, model)
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(sorted(known))}"
    return f"{path}: unknown key; {hint}"


def _keys(parents: list[str], model: Any) -> list[str]:
    for parent in parents:
        annotation = model.model_fields[parent].annotation
        model = next((a for a in (annotation, *get_args(annotation)) if hasattr(a, "model_fields")), model)
    return list(model.model_fields)
