"""The table of roles has every method that there is, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import featurestore.v1
import pytest
from featurestore.feast import serving_pb2
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from cluster.config import ClientConfig, GatewayConfig
from cluster.errors import Busy, Misconfigured
from cluster.gateway.admission import OPEN, Admission
from cluster.gateway.feast import PYTHON_SERVICE
from cluster.gateway.roles import NEEDED, Role, needed
from cluster.gateway.tokens import read_tokens
from raytide.channels import open_channel, token_of
from tests.guarded_gateway import tokens_file

TOKEN = "t" * 32


def served() -> dict[str, set[str]]:
    """Return the methods of every service of the protocol's files, of health and of reflection."""
    folder = Path(next(iter(featurestore.v1.__path__)))
    pool = descriptor_pool.Default()
    files: list[Any] = [pool.FindFileByName(f"featurestore/v1/{file.name}") for file in folder.glob("*.proto")]
    files += [serving_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR]
    services = [service for file in files for service in file.services_by_name.values()]
    return {service.full_name: set(service.methods_by_name) for service in services} | {PYTHON_SERVICE: {"GetOnlineFeatures"}}


def test_the_table_has_every_method_and_no_other() -> None:
    assert {service: set(methods) for service, methods in NEEDED.items()} == served()


def test_a_method_that_nobody_thought_of_is_for_administrators() -> None:
    assert needed("/other.Service/Method") is Role.ADMIN
    assert needed("/featurestore.v1.FeatureService/Method") is Role.ADMIN


def test_a_tokens_file_is_read_with_comments_and_digests(tmp_path: Path) -> None:
    digest = "sha256:" + "ab" * 32
    tokens = read_tokens(Path(tokens_file(tmp_path, "# who", "", f"a reader {TOKEN}", f"  b admin {digest}")))
    holder: Any = tokens.holder(TOKEN)
    assert (holder.name, holder.role) == ("a", Role.READER)
    assert tokens.holder(digest) is None  # what is in the file is not what opens the door
    assert TOKEN not in repr(holder)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([f"a reader {TOKEN}", "b reader"], "line 2: 2 words instead of three"),
        ([f"a king {TOKEN}"], "line 1: the second word is no role: write reader, writer, admin"),
        (["a reader tttttttt"], "line 1: the token needs at least 32"),
        ([f"a! reader {TOKEN}"], "line 1: the name"),
        (["# nobody"], "holds no token"),
    ],
)
def test_a_mistake_in_a_tokens_file_is_named_by_its_line_alone(tmp_path: Path, lines: list[str], said: str) -> None:
    with pytest.raises(Misconfigured, match=said) as caught:
        read_tokens(Path(tokens_file(tmp_path, *lines)))
    assert "tttttttt" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_tokens_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = Path(tokens_file(tmp_path, f"a reader {TOKEN}"))
    path.chmod(mode)
    with pytest.raises(Misconfigured, match=rf"mode {mode:03o}\): `chmod 600"):
        read_tokens(path)


class Call:
    """A call that ends when it is told to."""

    def __init__(self) -> None:
        self.ended: list[Any] = []

    def add_callback(self, callback: Any) -> bool:
        self.ended.append(callback)
        return True


def test_answers_that_a_client_did_not_read_count_until_they_end() -> None:
    admission = Admission(GatewayConfig(max_calls_per_client=2))
    calls = [Call() for _ in range(2 * OPEN)]
    for call in calls:
        with admission.running("a", cast("Any", call)):
            pass
    with pytest.raises(Busy, match="read their answers"), admission.running("a", cast("Any", Call())):
        pass
    with admission.running("b", cast("Any", Call())):
        pass
    calls[0].ended[0]()
    with admission.running("a", cast("Any", Call())):
        pass


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"token": "a b"}, r"client\.token holds no token"),
        ({"token": " "}, r"client\.token holds no token"),
        ({"token": TOKEN, "token_file": "x"}, "both set"),
        ({"cert": "x"}, "belong together"),
        ({"ca": "/nowhere/ca.pem"}, r"client\.ca /nowhere/ca\.pem cannot be read"),
    ],
)
def test_what_is_wrong_with_a_clients_settings_is_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        open_channel("127.0.0.1:1", ClientConfig(**settings))


def test_a_token_file_may_end_with_a_line(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(TOKEN + "\n")
    give: Any = token_of(ClientConfig(token_file=str(file)))
    assert give() == TOKEN
