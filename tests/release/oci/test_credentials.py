"""Credentials are found where docker, podman, skopeo and oras leave them, and never shown."""

import base64
import json

import pytest

from builder.errors import InputError, MissingError
from builder.release.oci.credentials import NOBODY, Credentials, credentials
from builder.release.oci.reference import RegistryReference

HERE = RegistryReference("registry.example", "team/models", "v1", plain=False)
HELPER = """#!/bin/sh
test "$1" = get && test "$(cat)" = registry.example || exit 1
{answer}
"""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def entry(name, password):
    return {"auth": base64.b64encode(f"{name}:{password}".encode()).decode()}


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


@pytest.fixture
def docker(home):
    def login(value):
        return write(home / ".docker" / "config.json", value)

    return login


@pytest.fixture
def helper(tmp_path, monkeypatch):
    def install(answer):
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / "docker-credential-vault"
        program.write_text(HELPER.format(answer=answer))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return install


def test_nobody_is_logged_in(docker):
    assert credentials(HERE) == NOBODY
    docker({"auths": {"other.example": entry("me", "secret")}})
    assert credentials(HERE) == NOBODY
    docker({})
    assert credentials(HERE) == NOBODY


@pytest.mark.parametrize(
    "key",
    ["registry.example", "https://registry.example", "https://registry.example/v1/",
     "registry.example/v2/", "registry.example/team", "registry.example/team/models"],
)  # fmt: skip
def test_docker_s_login(docker, key):
    docker({"auths": {key: entry("me", "se:cret")}})
    assert credentials(HERE) == Credentials("me", "se:cret")


def test_the_narrowest_login_is_taken(docker):
    docker(
        {"auths": {"registry.example": entry("a", "a"), "registry.example/team": entry("b", "b")}}
    )
    assert credentials(HERE).name == "b"


def test_another_host_that_begins_alike_is_another(docker):
    docker({"auths": {"registry.example.evil": entry("me", "x"), "registry": entry("me", "x")}})
    assert credentials(HERE) == NOBODY


def test_the_order_of_files(home, docker, monkeypatch):
    docker({"auths": {HERE.host: entry("docker", "x")}})
    assert credentials(HERE).name == "docker"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    write(home / "run" / "containers" / "auth.json", {"auths": {HERE.host: entry("podman", "x")}})
    assert credentials(HERE).name == "podman"
    named = write(home / "named.json", {"auths": {HERE.host: entry("named", "x")}})
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(named))
    assert credentials(HERE).name == "named"
    write(named, {})
    assert credentials(HERE) == NOBODY


def test_docker_s_folder_can_be_named(home, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(home / "ci"))
    write(home / "ci" / "config.json", {"auths": {HERE.host: entry("ci", "x")}})
    assert credentials(HERE).name == "ci"


def test_a_token_of_the_registry_s_own_login(docker):
    docker({"auths": {HERE.host: {**entry("00000000", ""), "identitytoken": "opaque"}}})
    assert credentials(HERE) == Credentials(token="opaque")  # noqa: S106


@pytest.mark.parametrize("named", [{"credHelpers": {HERE.host: "vault"}}, {"credsStore": "vault"}])
def test_helpers_are_asked(docker, helper, named):
    helper("""echo '{"Username": "me", "Secret": "from the vault"}'""")
    docker(named)
    assert credentials(HERE) == Credentials("me", "from the vault")


@pytest.mark.parametrize("host", ["docker.io", "index.docker.io"])
def test_docker_s_own_registry_has_another_name_in_its_files(docker, host):
    docker({"auths": {"https://index.docker.io/v1/": entry("me", "secret")}})
    hub = RegistryReference(host, "me/models", None, plain=False)
    assert credentials(hub).name == "me"
    assert hub.endpoint == "registry-1.docker.io"


def test_a_helper_may_give_a_token(docker, helper):
    helper("""echo '{"Username": "<token>", "Secret": "opaque"}'""")
    docker({"credsStore": "vault"})
    assert credentials(HERE) == Credentials(token="opaque")  # noqa: S106


def test_a_helper_may_know_nothing(docker, helper):
    helper("echo credentials not found in native keychain; exit 1")
    docker({"credsStore": "vault"})
    assert credentials(HERE) == NOBODY


@pytest.mark.parametrize("answer", ["echo 'secret-in-the-answer'", "exit 3", "echo '{}'"])
def test_a_helper_that_fails_is_named_and_not_repeated(docker, helper, answer):
    helper(answer)
    docker({"credsStore": "vault"})
    with pytest.raises(MissingError, match="docker-credential-vault") as failed:
        credentials(HERE)
    assert "secret-in-the-answer" not in str(failed.value)


def test_a_helper_that_is_not_installed_is_named(docker):
    docker({"credsStore": "absent-one"})
    with pytest.raises(MissingError, match="docker-credential-absent-one"):
        credentials(HERE)


@pytest.mark.parametrize("content", ["{", "[]", '"x"', '{"auths": 7}', '{"auths": ["hunter2"]}'])
def test_a_file_that_cannot_be_read_is_named_and_not_repeated(docker, content):
    docker({}).write_text(content)
    with pytest.raises(InputError, match=r"config\.json") as failed:
        credentials(HERE)
    assert "hunter2" not in str(failed.value)


@pytest.mark.parametrize("own", ["hunter2", {"auth": "!hunter2"}, {"auth": 7}, {"auth": "/w=="}])
def test_an_entry_that_cannot_be_read_is_not_repeated(docker, own):
    docker({"auths": {HERE.host: own}})
    with pytest.raises(InputError) as failed:
        credentials(HERE)
    assert "hunter2" not in str(failed.value)


def test_secrets_are_never_shown():
    own = Credentials("me", "hunter2", "opaque")
    assert "hunter2" not in repr(own)
    assert "opaque" not in repr(own)
    assert own.without(f"hunter2 {own.basic} opaque") == "… Basic … …"
