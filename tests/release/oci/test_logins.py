"""Who we are to a registry: passwords, tokens, certificates."""

import base64
import json

import pytest

from builder.errors import MissingError
from tests.certificates import issued
from tests.release.oci.registry import HTPASSWD as LOGINS
from tests.release.oci.registry import PASSWORD, USER, serving, skopeo
from tests.release.oci.tokens import issuing

pytest_plugins = ["tests.release.oci.fixture"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("at_home")]
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


def log_in(tmp_path, host, password=PASSWORD, **more):
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    folder = tmp_path / "docker"
    folder.mkdir(exist_ok=True)
    entry = more or {"auth": auth}
    (folder / "config.json").write_text(json.dumps({"auths": {host: entry}}))


# --- who we are ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A registry that wants a password."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "logins").write_text(LOGINS)
    auth = {"auth": {"htpasswd": {"realm": "here", "path": str(folder / "logins")}}}
    with serving(folder / "registry", auth) as server:
        yield server


def test_a_password_lets_in(tmp_path, guarded, cpu):
    log_in(tmp_path, guarded.host)
    assert cpu.push(guarded.host).layers == 8


def test_skopeo_s_login_lets_in(tmp_path, guarded, cpu, monkeypatch):
    file = tmp_path / "auth.json"
    skopeo("login", "--tls-verify=false", "--authfile", str(file), "--username", USER,
           "--password", PASSWORD, guarded.host)  # fmt: skip
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(file))
    assert cpu.push(guarded.host).layers == 8


def test_without_a_login_it_says_so(guarded, cpu):
    with pytest.raises(MissingError, match="nobody is logged in") as refused:
        cpu.push(guarded.host)
    assert f"docker login {guarded.host}" in str(refused.value)


def test_a_wrong_password_is_refused_and_not_repeated(tmp_path, guarded, cpu):
    log_in(tmp_path, guarded.host, "hunter2-wrong")
    said = []
    with pytest.raises(MissingError, match="refuses the credentials") as refused:
        cpu.push(guarded.host, say=said.append)
    told = str(refused.value) + "".join(said)
    assert "hunter2" not in told
    assert base64.b64encode(f"{USER}:hunter2-wrong".encode()).decode() not in told


@pytest.fixture
def tokens(tmp_path):
    with issuing(tmp_path) as server:
        yield server


@pytest.fixture
def by_token(tmp_path, tokens):
    """A registry that wants a token of a token server."""
    with serving(tmp_path / "by-token", tokens.settings) as server:
        yield server


def test_a_token_is_fetched_with_the_password(tmp_path, tokens, by_token, cpu):
    tokens.basic = BASIC
    log_in(tmp_path, by_token.host)
    assert cpu.push(by_token.host).layers == 8
    assert {"service": ["registry"], "scope": [f"repository:{cpu.name}:pull,push"]} in tokens.asked
    assert len(tokens.asked) == 1  # for all layers, however many ask at once


def test_a_token_is_fetched_with_a_token(tmp_path, tokens, by_token, cpu):
    tokens.basic, tokens.refresh = BASIC, "opaque-refresh"
    log_in(tmp_path, by_token.host, identitytoken="opaque-refresh")
    assert cpu.push(by_token.host).layers == 8
    assert tokens.asked[0]["grant_type"] == ["refresh_token"]


def test_a_token_that_is_not_enough_any_more_is_renewed(tmp_path, tokens, by_token, cpu):
    tokens.grants = ["pull", "pull,push"]
    assert cpu.push(by_token.host).layers == 8
    assert len(tokens.asked) == 2


def test_tokens_that_are_too_old_end_it(tokens, by_token, cpu):
    tokens.age = 3600
    with pytest.raises(MissingError, match="invalid_token"):
        cpu.push(by_token.host)


def test_a_token_server_that_refuses_is_told(tmp_path, tokens, by_token, cpu):
    tokens.basic = BASIC
    log_in(tmp_path, by_token.host, "hunter2-wrong")
    with pytest.raises(MissingError, match="who are you") as refused:
        cpu.push(by_token.host)
    assert "hunter2" not in str(refused.value)


# --- TLS -------------------------------------------------------------------------------------


def test_a_registry_with_tls_is_trusted_by_its_authority(tmp_path, cpu, monkeypatch):
    made = issued(tmp_path / "certificates")
    with serving(tmp_path / "tls", tls=(made.chain, made.key)) as server:
        host = f"https://{server.host}"
        with pytest.raises(MissingError, match="TLS is not to be trusted"):
            cpu.push(host)
        monkeypatch.setenv("SSL_CERT_FILE", str(made.authority))
        assert cpu.push(host).layers == 8
