"""Small tables beside the definitions."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cluster.errors import Misconfigured
from cluster.registry import loader
from cluster.registry.lookups import MAX_BYTES, Lookup

RATES = "currency,name,rate\nEUR,Euro,1\nUSD,Dollar,0.92\n"

DEFINITIONS = """
from raytide import DType, Entity, FeatureView, Field, FileSource, Wide, feature, lookup

RATES = lookup("rates.csv", key="currency", value="rate")

@feature(mode="pandas")
def amount_eur(amount, currency):
    return amount * currency.map(RATES)

source = FileSource("orders", Wide("user_id", "at", (Field("amount"), Field("currency", DType.STRING))))
order = FeatureView("order", Entity("user", "user_id"), source, [amount_eur])
"""


@pytest.fixture
def call(tmp_path: Path) -> Callable[..., Lookup]:
    """Return `lookup`, called by a file that lies beside rates.csv."""

    def called(text: str | bytes = RATES, path: str = "rates.csv", **options: Any) -> Lookup:
        (tmp_path / "rates.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
        code = "from raytide import lookup\nfound = lookup(path, **options)"
        scope = {"path": path, "options": {"key": "currency", "value": "rate", **options}}
        exec(compile(code, tmp_path / "definitions.py", "exec"), scope)  # noqa: S102 - the calling file is what is tested
        found: Any = scope["found"]
        return found  # type: ignore[no-any-return]

    return called


def test_a_lookup_is_a_mapping_that_cannot_be_changed(call: Callable[..., Lookup]) -> None:
    found = call()
    assert found == {"EUR": 1.0, "USD": 0.92}
    assert (found["USD"], found.get("CHF"), len(found), "EUR" in found) == (0.92, None, 2, True)
    assert repr(found) == "<lookup of 2 keys from rates.csv>"
    with pytest.raises(TypeError):
        found["CHF"] = 1  # type: ignore[index]


def test_a_series_is_mapped_and_what_is_unknown_is_null(call: Callable[..., Lookup]) -> None:
    assert pd.Series(["USD", "CHF", None, "EUR"]).map(call()).fillna(-1).tolist() == [0.92, -1, -1, 1.0]


def test_it_pickles(call: Callable[..., Lookup]) -> None:
    found = call()
    again = pickle.loads(pickle.dumps(found))  # noqa: S301 - our own bytes
    assert (again, again.digest, hash(again)) == (found, found.digest, hash(found))


def test_the_digest_is_of_the_content(call: Callable[..., Lookup]) -> None:
    digest = call().digest
    assert len(digest) == 64
    assert call("rate,currency\r\n0.92,USD\r\n1.0,EUR\r\n").digest == digest
    assert call(RATES.replace("0.92", "0.93")).digest != digest
    assert call(value="name", value_type="string").digest != digest


@pytest.mark.parametrize(
    ("types", "text", "expected"),
    [
        ({}, "007,1\n", {"007": 1.0}),
        ({"key_type": "int64"}, "7,1\n", {7: 1.0}),
        ({"value_type": "int64"}, "a,9007199254740993\n", {"a": 2**53 + 1}),
        ({"value_type": "string"}, "a,1\n", {"a": "1"}),
        ({"value_type": "bool"}, "a,true\nb,False\n", {"a": True, "b": False}),
        ({}, '"a,b",1\n\n', {"a,b": 1.0}),
        ({}, '"a\r\nb",1\r\nc\u2028d,2\r\n', {"a\r\nb": 1.0, "c\u2028d": 2.0}),
    ],
)
def test_cells_are_read_as_declared(call: Callable[..., Lookup], types: Any, text: str, expected: Any) -> None:
    found = call("\ufeffcurrency,rate\n" + text, **types)
    assert found == expected
    assert [type(value) for value in found.values()] == [type(value) for value in expected.values()]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (RATES, {"path": "rate.csv"}, r"lookup 'rate.csv': there is no file .*rate\.csv; did you mean 'rates\.csv'\?"),
        (RATES, {"key": "curency"}, r"no column 'curency'; did you mean 'currency'\?"),
        (RATES, {"value": "price"}, "no column 'price'; known: currency, name, rate"),
        ("currency,rate,rate\nEUR,1,1\n", {}, "more than one column 'rate'"),
        ("", {}, "the file is empty"),
        ("currency,rate\n", {}, "the file has no rows"),
        ("currency,rate\nEUR,1\n\nEUR,1\n", {}, "line 4: key 'EUR' is there twice"),
        ("currency,rate\nEUR,\n", {}, "line 2: '' is not of type float64"),
        ("currency,rate\nEUR,nan\n", {}, "line 2: 'nan' is not of type float64"),
        ("currency,rate\n,1\n", {}, "line 2: '' is not of type string"),
        ("currency,rate\nEUR,1.5\n", {"value_type": "int64"}, "line 2: '1.5' is not of type int64"),
        ("currency,rate\nEUR,yes\n", {"value_type": "bool"}, "line 2: 'yes' is not of type bool"),
        ("currency,rate\nEUR,1,2\n", {}, "line 2 has 3 cells, the header has 2"),
        ('currency,rate\n"EUR,1\n', {}, "line 2: unexpected end of data"),
        (b"currency,rate\n\xff,1\n", {}, "not UTF-8 at byte 14"),
        (RATES, {"value_type": "float"}, "types are float64, int64, string, bool, not 'float'"),
        (b"x" * (MAX_BYTES + 1), {}, "10,485,761 bytes are too many to ship with the definitions, 10,485,760 is the most"),
    ],
)
def test_what_is_wrong_is_said(call: Callable[..., Lookup], text: str | bytes, options: Any, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        call(text, **options)


def test_definitions_ship_their_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    (project / "definitions.py").write_text(DEFINITIONS, encoding="utf-8")
    (project / "rates.csv").write_text(RATES, encoding="utf-8")
    monkeypatch.chdir(elsewhere)
    data = loader.to_bytes(loader.load("p", project / "definitions.py"))
    (project / "rates.csv").unlink()
    (amount_eur,) = loader.from_bytes(data).views["order"].features
    result = amount_eur.function(pd.Series([2.0, 1.0]), pd.Series(["USD", "CHF"]))  # type: ignore[operator, union-attr]
    assert result.fillna(-1).tolist() == [1.84, -1]


def test_without_a_calling_file_the_path_must_be_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rates.csv").write_text(RATES, encoding="utf-8")
    code = "from raytide import lookup\nfound = lookup(path, key='currency', value='rate')"
    with pytest.raises(Misconfigured, match="the path is relative, and <prompt> is not a file"):
        exec(compile(code, "<prompt>", "exec"), {"path": "rates.csv"})  # noqa: S102 - as a prompt does
    exec(compile(code, "<prompt>", "exec"), {"path": tmp_path / "rates.csv"})  # noqa: S102


def test_the_calling_file_is_what_a_helper_module_lies_beside(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "tables" / "rates.csv").write_text(RATES, encoding="utf-8")
    helper = 'from raytide import lookup\nRATES = lookup("rates.csv", key="currency", value="rate")\n'
    (tmp_path / "tables" / "rates.py").write_text(helper, encoding="utf-8")
    line = 'RATES = lookup("rates.csv", key="currency", value="rate")\n'
    text = DEFINITIONS.replace(line, "from tables.rates import RATES\n")
    (tmp_path / "definitions.py").write_text(text, encoding="utf-8")
    assert list(loader.load("p", tmp_path / "definitions.py").features) == ["amount_eur"]
