"""The reference pages name everything there is, in the words of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cluster.config import Config, Section
from cluster.records import Reason
from cluster.registry import loader
from raytide.cli import app

DOCS = Path(__file__).parents[2] / "docs"


def fields_of(section: type[BaseModel]) -> dict[str, FieldInfo]:
    return section.model_fields


SECTIONS: list[type[BaseModel]] = [type(f.default) for f in Config.model_fields.values() if isinstance(f.default, Section)]
FIELDS = [*fields_of(Config).items(), *(item for section in SECTIONS for item in fields_of(section).items())]


@pytest.mark.parametrize(("name", "field"), FIELDS, ids=lambda x: x if isinstance(x, str) else "")
def test_every_setting_is_in_the_reference_with_its_meaning(name: str, field: FieldInfo) -> None:
    meaning = " ".join(str(field.description or "").split())
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert f"`{name}`" in page
    assert meaning
    assert meaning in page


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_explained(reason: Reason) -> None:
    assert f"| `{reason}` |" in (DOCS / "formats.md").read_text(encoding="utf-8")


def test_every_verb_is_in_the_operations_page() -> None:
    page = (DOCS / "operations.md").read_text(encoding="utf-8")
    verbs = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
    assert verbs
    assert not [verb for verb in verbs if f"raytide {verb}" not in page]


def test_the_first_feature_view_of_the_readme_loads(tmp_path: Path) -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    (block,) = [part for part in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "FeatureView(" in part]
    file = tmp_path / "definitions.py"
    file.write_text(block, encoding="utf-8")
    assert sorted(loader.load("readme", file).features) == ["amount_eur", "is_large"]
