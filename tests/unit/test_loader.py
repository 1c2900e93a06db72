from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest

from cluster.errors import Misconfigured
from cluster.registry import loader
from cluster.registry.catalog import Catalog
from cluster.registry.definitions import FeatureFunction

DEFINITIONS = """
    from raytide import *
    {imports}
    source = StreamSource("orders", "orders", Wide("user_id", "at", (Field("amount"),)))

    @feature()
    def total(amount):
        return {body}

    view = FeatureView("view", Entity("user", "user_id"), source, [total])
"""


def repository(folder: Path, imports: str = "", body: str = "amount", **helpers: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in helpers.items():
        file = folder / (name.replace("__in__", "/") + ".py")
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(text))
    definitions = folder / "definitions.py"
    definitions.write_text(textwrap.dedent(DEFINITIONS).format(imports=imports, body=body))
    return definitions


def total(catalog: Catalog, amount: float = 10) -> float:
    (function,) = catalog.views["view"].features
    assert isinstance(function, FeatureFunction)
    result: float = function.function(amount)
    return result


WORKER = """
import sys
from cluster.registry import loader
(function,) = loader.from_bytes(sys.stdin.buffer.read()).views["view"].features
print(function.function(10))
"""


def in_a_worker(catalog: Catalog, folder: Path) -> float:
    """Call the feature in a process that knows Raytide but not the repository."""
    root = Path(loader.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        input=loader.to_bytes(catalog),
        capture_output=True,
        cwd=folder,
        env={"PYTHONPATH": str(root)},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return float(done.stdout)


@pytest.mark.parametrize(
    ("imports", "body", "helpers"),
    [
        ("", "amount * 2", {}),
        ("FACTOR = 2", "amount * FACTOR", {}),
        ("import rates", "amount * rates.FACTOR", {"rates": "FACTOR = 2"}),
        ("from rates import double", "double(amount)", {"rates": "def double(x):\n    return 2 * x"}),
        ("from rates import Rate", "Rate(2).of(amount)", {
            "rates": """
                from dataclasses import dataclass

                @dataclass
                class Rate:
                    factor: float

                    def of(self, x):
                        return self.factor * x
            """,
        }),
        ("import outer", "outer.double(amount)", {
            "outer": "import inner\n\ndef double(x):\n    return inner.FACTOR * x",
            "inner": "FACTOR = 2",
        }),
        ("from package.rates import double", "double(amount)", {
            "package__in____init__": "FACTOR = 2",
            "package__in__rates": "from . import FACTOR\n\ndef double(x):\n    return FACTOR * x",
        }),
        ("import folder.rates", "amount * folder.rates.FACTOR", {"folder__in__rates": "FACTOR = 2"}),
        ("import math, numpy as np", "float(np.ceil(math.sqrt(amount))) * 5", {}),
    ],
    ids=["function", "constant", "module", "helper", "class", "chain", "package", "folder", "libraries"],
)  # fmt: skip
def test_functions_travel_with_everything_of_their_repository(
    tmp_path: Path, imports: str, body: str, helpers: dict[str, str]
) -> None:
    catalog = loader.load("project", repository(tmp_path / "home", imports, body, **helpers))
    shutil.rmtree(tmp_path / "home")
    assert total(catalog) == 20
    assert in_a_worker(catalog, tmp_path) == 20


def test_a_catalog_that_travelled_can_travel_again(tmp_path: Path) -> None:
    catalog = loader.load("project", repository(tmp_path, "import rates", "amount * rates.FACTOR", rates="FACTOR = 2"))
    again = loader.from_bytes(loader.to_bytes(loader.from_bytes(loader.to_bytes(catalog))))
    assert total(again) == 20
    assert again.describe() == catalog.describe()
    assert again.content_hash == catalog.content_hash


def test_repositories_with_the_same_file_names_do_not_mix(tmp_path: Path) -> None:
    catalogs = [
        loader.load("project", repository(tmp_path / str(n), "import rates", "amount * rates.FACTOR", rates=f"FACTOR = {n}"))
        for n in (1, 2)
    ]
    assert [total(catalog) for catalog in catalogs] == [10, 20]
    assert [in_a_worker(catalog, tmp_path) for catalog in catalogs] == [10, 20]


def test_a_helper_may_have_the_name_of_a_module_that_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = types.ModuleType("rates")
    monkeypatch.setitem(sys.modules, "rates", other)
    catalog = loader.load("project", repository(tmp_path, "import rates", "amount * rates.FACTOR", rates="FACTOR = 2"))
    assert sys.modules["rates"] is other
    assert total(catalog) == 20
    assert in_a_worker(catalog, tmp_path.parent) == 20


@pytest.mark.parametrize("body", ["amount * rates.FACTOR", "missing +"])
def test_loading_leaves_the_interpreter_as_it_was(tmp_path: Path, body: str) -> None:
    definitions = repository(tmp_path, "import rates", body, rates="FACTOR = 2")
    before = set(sys.modules), list(sys.path), sys.dont_write_bytecode
    try:
        loader.load("project", definitions)
    except Misconfigured:
        assert body == "missing +"
    assert (set(sys.modules), list(sys.path), sys.dont_write_bytecode) == before
    assert not list(tmp_path.rglob("__pycache__"))


def test_an_edit_is_seen_at_once(tmp_path: Path) -> None:
    found = []
    for factor in (1, 2, 3):  # texts of equal length, written within one tick of the file's time
        definitions = repository(tmp_path, "import rates", f"amount * rates.FACTOR * {factor}", rates=f"FACTOR = {factor}")
        found.append(total(loader.load("project", definitions)))
    assert found == [10, 40, 90]


HASHER = """
import sys
from pathlib import Path
from cluster.registry import loader
print(loader.load("project", Path(sys.argv[1])).content_hash)
"""


class TestContentHash:
    def load(self, folder: Path, body: str = "amount * rates.FACTOR", factor: str = "2") -> str:
        definitions = repository(folder, "import rates", body, rates=f"FACTOR = {factor}", unused="x = 1")
        return loader.load("project", definitions).content_hash

    def test_is_the_same_in_another_run_and_in_another_folder(self, tmp_path: Path) -> None:
        assert self.load(tmp_path / "a") == self.load(tmp_path / "a") == self.load(tmp_path / "b")
        done = subprocess.run(
            [sys.executable, "-c", HASHER, tmp_path / "a" / "definitions.py"],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(Path(loader.__file__).parents[2]), "PYTHONHASHSEED": "7"},
            check=True,
        )
        assert done.stdout.strip() == self.load(tmp_path / "a")

    def test_changes_with_the_code_of_the_definitions_and_of_helpers(self, tmp_path: Path) -> None:
        hashes = [self.load(tmp_path), self.load(tmp_path, body="rates.FACTOR * amount"), self.load(tmp_path, factor="3")]
        assert len(set(hashes)) == 3

    def test_is_not_changed_by_files_that_nothing_imports(self, tmp_path: Path) -> None:
        before = self.load(tmp_path)
        (tmp_path / "unused.py").write_text("x = 2")
        assert loader.load("project", tmp_path / "definitions.py").content_hash == before


class TestErrors:
    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(Misconfigured, match=r"no definitions at .*nothing.py: create the file"):
            loader.load("project", tmp_path / "nothing.py")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("def", "does not import: SyntaxError: invalid syntax"),
            ("1 / 0", "does not import: ZeroDivisionError: division by zero"),
            ("import nothing_like_this", "does not import: ModuleNotFoundError: No module named 'nothing_like_this'"),
            ("raise SystemExit(3)", "does not import: SystemExit: 3"),
            ("\0", "does not import: SyntaxError: source code string cannot contain null bytes"),
            ("from raytide import feature\n@feature('rows')\ndef f(x): pass", "modes are row, pandas, numpy"),
            ("from raytide import Entity\ne = Entity('User', 'id')", "entity 'User': names are lower case"),
        ],
    )
    def test_definitions_that_do_not_load_name_the_file_and_the_cause(self, tmp_path: Path, text: str, said: str) -> None:
        file = tmp_path / "definitions.py"
        file.write_text(text)
        with pytest.raises(Misconfigured) as caught:
            loader.load("project", file)
        assert str(caught.value).startswith(str(file))
        assert said in str(caught.value)

    def test_a_filter_that_cannot_travel_names_its_view(self, tmp_path: Path) -> None:
        definitions = repository(tmp_path, "import threading\nlock = threading.Lock()")
        text = definitions.read_text()
        filtered = "@feature()\ndef paid(amount):\n    return bool(lock)\n\nview = "
        definitions.write_text(text.replace("view = ", filtered).replace("[total])", "[total], where=paid)"))
        catalog = loader.load("project", definitions)
        with pytest.raises(Misconfigured, match=r"'where' of view 'view' cannot be sent to workers: TypeError: .*lock"):
            loader.to_bytes(catalog)

    def test_a_function_that_cannot_travel_names_its_feature(self, tmp_path: Path) -> None:
        definitions = repository(tmp_path, "import threading\nlock = threading.Lock()", "amount if lock else 0")
        catalog = loader.load("project", definitions)
        with pytest.raises(Misconfigured, match=r"feature 'total' of view 'view' cannot be sent to workers: TypeError: .*lock"):
            loader.to_bytes(catalog)
