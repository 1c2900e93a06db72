"""Mistakes that a newcomer makes: each gives one sentence with file, line, name and the way out, and no traceback.

`HERE` marks the line that the message has to name.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.errors import Misconfigured
from cluster.registry import loader

HEAD = """from datetime import timedelta
from raytide import *
user = Entity("user", "user_id")
orders = StreamSource("orders", "orders", Wide("user_id", "at", (Field("amount"), Field("note", DType.STRING, optional=True))))
values = FileSource("values", Long())
@feature()
def double(amount):
    return amount * 2
"""

MISTAKES: dict[str, tuple[str, str]] = {
    "an unknown input": (
        "@feature()  # HERE\ndef f(amonut): return 1\nv = FeatureView('v', user, orders, [f])",
        "feature 'f' takes 'amonut', which is neither a column of its source nor a feature of its view; did you mean 'amount'",
    ),
    "a circle": (
        "@feature()\ndef a(b): return b\n@feature()\ndef b(a): return a\nv = FeatureView('v', user, orders, [a, b])",
        "features need each other in a circle: ",
    ),
    "a function takes itself": (
        "@feature()  # HERE\ndef f(f): return 1\nv = FeatureView('v', user, orders, [f])",
        "in a circle: f -> f; break it",
    ),
    "a plain function in a view": (
        "def f(amount): return 1\nv = FeatureView('v', user, orders, [f])  # HERE",
        "view 'v' lists f, neither a Field nor a feature: put @feature() above a function",
    ),
    "no parentheses": ("@feature  # HERE\ndef f(amount): return 1", "write @feature() for row"),
    "a mode that there is not": (
        "@feature(mode='polars')  # HERE\ndef f(amount): return 1",
        "modes are row, pandas, numpy; write @feature() for row",
    ),
    "a default value of a parameter": (
        "@feature()  # HERE\ndef f(amount, rate=1): return 1\nv = FeatureView('v', user, orders, [f])",
        "feature 'f': parameter 'rate=1' is not a plain name; each parameter names one column or feature, so leave out",
    ),
    "star arguments": (
        "@feature()  # HERE\ndef f(*amounts): return 1\nv = FeatureView('v', user, orders, [f])",
        "parameter '*amounts' is not a plain name",
    ),
    "no parameters": (
        "@feature()  # HERE\ndef f(): return 1\nv = FeatureView('v', user, orders, [f])",
        "feature 'f' takes no inputs: name at least one column as its parameter",
    ),
    "async": (
        "@feature()  # HERE\nasync def f(amount): return 1\nv = FeatureView('v', user, orders, [f])",
        "feature 'f' must be an ordinary function that returns its result, not async or yield",
    ),
    "a generator": (
        "@feature()  # HERE\ndef f(amount): yield 1\nv = FeatureView('v', user, orders, [f])",
        "not async or yield",
    ),
    "the name of a column": (
        "@feature()  # HERE\ndef amount(note): return 1\nv = FeatureView('v', user, orders, [amount])",
        "feature 'amount' has the name of a column of its source: give the function another name",
    ),
    "one feature in two views": (
        "v = FeatureView('v', user, orders, [double])\nw = FeatureView('w', user, orders, [double])",
        "feature 'double' is defined in view 'v' and in view 'w': feature names are unique in a project, rename one",
    ),
    "two views of one name": (
        "v = FeatureView('v', user, orders, [double])\nw = FeatureView('v', user, values, [Field('x')])  # HERE",
        "another feature view 'v' is defined at ",
    ),
    "a ttl that is a number": (
        "v = FeatureView('v', user, orders, [double], ttl=3600)  # HERE",
        "view 'v': ttl is 3600, give a positive timedelta, or None for values that never expire",
    ),
    "a negative ttl": (
        "v = FeatureView('v', user, orders, [double], ttl=timedelta(days=-1))  # HERE",
        "give a positive timedelta",
    ),
    "a view without features": (
        "v = FeatureView('v', user, orders, [])  # HERE",
        "view 'v' has no features: list at least one",
    ),
    "an entity by its name": (
        "v = FeatureView('v', 'user', orders, [double])  # HERE",
        "view 'v': entity must be an Entity(...), not str",
    ),
    "a source by its name": (
        "v = FeatureView('v', user, 'orders', [double])  # HERE",
        "view 'v': source must be a StreamSource(...) or FileSource(...), not str",
    ),
    "a field that the source lacks": (
        "v = FeatureView('v', user, orders, [Field('amonut')])  # HERE",
        "has no field 'amonut' to take as a feature; did you mean 'amount'?",
    ),
    "text as a feature": (
        "v = FeatureView('v', user, orders, [Field('note')])  # HERE",
        "field 'note' of its source is a string: compute a number from it with @feature",
    ),
    "a function over finished values": (
        "@feature()  # HERE\ndef f(value): return 1\nv = FeatureView('v', user, values, [f])",
        "use a Wide source for functions, or a Field here",
    ),
    "a name with capitals": (
        "v = FeatureView('MyView', user, orders, [double])  # HERE",
        "'MyView': names are lower case letters, digits and underscores, start with a letter",
    ),
    "a topic that Kafka refuses": (
        "s = StreamSource('s', 'my topic!', Long())  # HERE",
        "source 's': 'my topic!' is not a topic name; Kafka allows letters, digits",
    ),
    "one topic in two sources": (
        "s = StreamSource('s', 'orders', Long())  # HERE",
        "both read topic 'orders': keep one, several views can share it",
    ),
    "a source without a time": (
        "s = FileSource('s', Wide('user_id', '', ()))  # HERE",
        "source 's' names a record field '': names are texts that are not empty",
    ),
    "a source without a join key": ("s = FileSource('s', Wide(event_timestamp='at', fields=()))  # HERE", "missing 1 required"),
    "the time as a field too": (
        "s = FileSource('s', Wide('user_id', 'at', (Field('at'),)))  # HERE",
        "source 's' uses record field 'at' 2 times: join key, times and declared fields differ",
    ),
    "a unit of time that there is not": (
        "s = FileSource('s', Long(timestamp_unit='ns'))  # HERE",
        "source 's': timestamp_unit is 'ns', units are s, ms, us",
    ),
    "a type that there is not": (
        "s = FileSource('s', Wide('u', 'at', (Field('x', 'decimal'),)))  # HERE",
        "source 's', field 'x': dtype is 'decimal', types are float64, int64, string, bool",
    ),
    "limits the wrong way round": (
        "s = FileSource('s', Wide('u', 'at', (Field('x', minimum=2, maximum=1),)))  # HERE",
        "minimum 2 is not below maximum 1, so nothing would pass",
    ),
    "limits of a text": (
        "s = FileSource('s', Wide('u', 'at', (Field('x', DType.STRING, minimum=2),)))  # HERE",
        "minimum and maximum need a number, and it is a string: use allowed=(...)",
    ),
    "allowed values as one text": (
        "s = FileSource('s', Wide('u', 'at', (Field('x', DType.STRING, allowed='ab'),)))  # HERE",
        "allowed must be a tuple of values, such as allowed=('a', 'b')",
    ),
    "a service of what there is not": (
        "v = FeatureView('v', user, orders, [double])\ns = FeatureService('s', ['v:duoble'])  # HERE",
        "feature service 's': no feature is called 'duoble'; did you mean 'double'?",
    ),
    "an import that fails": ("import pandsa  # HERE", "does not import: ModuleNotFoundError: No module named 'pandsa'"),
    "Python that is none": ("def f(amount:  # HERE\n", "does not import: SyntaxError"),
    "code that fails": ("x = 1 / 0  # HERE", "does not import: ZeroDivisionError: division by zero"),
    "a table that is not there": (
        "RATES = lookup('rates.csv', key='a', value='b')  # HERE",
        "lookup 'rates.csv': there is no file",
    ),
    "outputs as one text": (
        "@feature(outputs='ab')  # HERE\ndef f(amount): return 1",
        "list the names, as outputs=('ab', ...)",
    ),
    "a where without a feature": (
        "v = FeatureView('v', user, orders, [double], where=lambda amount: True)  # HERE",
        "view 'v': where must be one function: put @feature() above it",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_it_names_the_place_and_the_way_out(tmp_path: Path, name: str) -> None:
    text, said = MISTAKES[name]
    file = tmp_path / "definitions.py"
    file.write_text(HEAD + text, encoding="utf-8")
    with pytest.raises(Misconfigured) as caught:
        loader.load("project", file)
    message = str(caught.value)
    assert said in message
    assert message.startswith(f"{file}:")
    if "HERE" in text:
        line = next(n for n, line in enumerate((HEAD + text).splitlines(), 1) if "HERE" in line)
        assert message.startswith(f"{file}:{line}: ")
    assert "\n" not in message


def test_a_mistake_in_a_module_beside_it_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "views.py").write_text(HEAD + "v = FeatureView('v', user, orders, [])", encoding="utf-8")
    (tmp_path / "definitions.py").write_text("from views import *", encoding="utf-8")
    with pytest.raises(Misconfigured, match="has no features") as caught:
        loader.load("project", tmp_path / "definitions.py")
    assert str(caught.value).startswith(f"{tmp_path / 'views.py'}:9: ")
