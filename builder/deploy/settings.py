"""What a deployment is asked to be: a file of the user's, and what holds where it is silent."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from builder.errors import InputError
from builder.release.layout import check_channel
from builder.spec.duration import Duration
from builder.spec.size import Size
from builder.spec.tensor import Frozen

Label = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=40)]
"""What Kubernetes takes as the name of a Service (RFC 1035), with room for what is added to it."""

Cpu = Annotated[str, Field(pattern=r"^(\d+(\.\d{1,3})?|\d+m)$")]
"""Cores as Kubernetes counts them: `2`, `0.5`, `500m`."""


def _absolute(path: str) -> str:
    if not path.startswith("/") or ".." in path.split("/"):
        raise ValueError("not a folder of a node; expected an absolute path")
    return path


_SECRET = re.compile(r"SECRET|PASSWORD|TOKEN|CREDENTIAL|SIGNATURE|SAS|(?<!VERIFY_)KEY")


def _public(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("not the name of a variable; expected letters, digits and _")
    if _SECRET.search(name.upper()):
        raise ValueError(
            "a secret does not stand in a manifest; expected a Secret of the cluster with this "
            "entry, and its name under `credentials`"
        )
    return name


def _whole(value: str) -> str:
    """Refuses addresses that are none, and those that carry a password."""
    if value.startswith(("http://", "https://")):
        try:
            parts = urlsplit(value)
            _ = parts.port
        except ValueError as e:
            raise ValueError(f"not an address: {e}") from e
        if parts.password:
            raise ValueError("an address with a password in it; expected it in the Secret")
    return value


def _channel(name: str) -> str:
    try:
        check_channel(name)
    except InputError as e:
        raise ValueError(f"{e.problem}; expected {e.expected}") from e
    return name


class _Kebab(Frozen):
    model_config = ConfigDict(
        alias_generator=lambda name: name.replace("_", "-"), populate_by_name=True
    )


class Resources(_Kebab):
    """What a pod's Triton gets. What is None follows from the release."""

    cpu: Cpu = "1"
    memory: Size | None = None
    shared_memory: Size = 2**30
    gpus: Annotated[int, Field(ge=1)] = 1


class Replicas(_Kebab):
    """How many pods, and what adds more. Queue times are averages over requests."""

    min: Annotated[int, Field(ge=1)] = 2
    max: Annotated[int, Field(ge=1)] | None = None
    scale_on: Literal["cpu", "queue"] | None = None
    cpu_percent: Annotated[int, Field(ge=1, le=100)] = 70
    queue_time: Duration = 20_000
    prometheus: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Replicas:
        if self.scale_on and (self.max or 0) <= self.min:
            raise ValueError(f"scale-on without a max; expected max above {self.min}")
        if self.max and not self.scale_on:
            raise ValueError("a max and nothing that scales; expected scale-on: cpu or queue")
        if self.scale_on == "queue" and not self.prometheus:
            raise ValueError("scale-on: queue asks Prometheus; expected prometheus: its address")
        return self


class Lane(_Kebab):
    """Some of the models, in pods of their own. What is None is the deployment's."""

    models: Annotated[tuple[str, ...], Field(min_length=1)]
    resources: Resources | None = None
    replicas: Replicas | None = None


class Probing(_Kebab):
    """How long things may take. What is None follows from what was measured."""

    load: Duration | None = None
    margin: Annotated[float, Field(ge=1)] = 4.0
    drain: Duration = 15_000_000
    finish: Duration = 30_000_000


class Access(_Kebab):
    """Who may talk to the pods, and with whom pods may talk."""

    clients: tuple[Label, ...] = ()
    monitoring: Label = "monitoring"
    store_ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = (443,)


class Deployment(_Kebab):
    """The file. The store and the pull image have to be named, there or on the command line.

    Attributes:
        name: of everything that is made; the target's by default, after `triton-`.
        image: Triton's; the target's by default.
        pull_image: one with `triton-builder[agent]` in it.
        store: where releases are.
        channel: follow this; the manifest's own release, for ever, by default.
        agent: bring running pods to what the channel names, too.
        control_secret: a Secret whose entry `key` whoever loads and unloads models must know:
            the agent does, other clients of the pods do not.
        verify_key: a file with the public key that releases must be signed with.
        verify_identity: or who must have signed them, at Sigstore; `verify_issuer` vouches for it.
        trust_config: of a Sigstore of one's own, a file with its trust configuration.
        credentials: a Secret whose entries become the environment of what talks to the store.
        environment: likewise, what is no secret: AWS_REGION, AWS_ENDPOINT_URL.
        service_account: of the pods, where the cloud grants access to it.
        volume: where the release lies in a pod.
        node_cache: a folder of each node where its pods share what they downloaded.
        clients: see `Access`; likewise `monitoring`.
        monitor: what has Prometheus scrape the pods.
        lanes: pods by name, each with some of the models; one for all of them if none.
    """

    name: Label | None = None
    namespace: Label | None = None
    image: str | None = None
    pull_image: str | None = None
    image_pull_secrets: tuple[Label, ...] = ()
    store: str | None = None
    channel: Annotated[str, AfterValidator(_channel)] | None = None
    agent: bool = False
    control_secret: Label | None = None
    verify_key: str | None = None
    verify_identity: Annotated[str, AfterValidator(_whole)] | None = None
    verify_issuer: Annotated[str, AfterValidator(_whole)] | None = None
    trust_config: str | None = None
    credentials: Label | None = None
    environment: dict[
        Annotated[str, AfterValidator(_public)], Annotated[str, AfterValidator(_whole)]
    ] = Field(default_factory=dict)
    service_account: Label | None = None
    volume: Literal["disk", "memory"] = "disk"
    node_cache: Annotated[str, AfterValidator(_absolute)] | None = None
    resources: Resources = Resources()
    replicas: Replicas = Replicas()
    probing: Probing = Probing()
    access: Access = Access()
    monitor: Literal["none", "service", "pod"] = "none"
    lanes: dict[Label, Lane] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Deployment:
        if self.agent and not self.channel:
            raise ValueError("an agent without a channel to follow; expected channel: its name")
        if bool(self.verify_identity) != bool(self.verify_issuer):
            raise ValueError(
                "an identity goes with who vouches for it; expected both verify-identity and "
                "verify-issuer"
            )
        if self.verify_key and self.verify_identity:
            raise ValueError("a key or an identity, not both; expected one of them")
        if self.trust_config and not self.verify_identity:
            raise ValueError("a trust-config is for identities; expected verify-identity with it")
        if self.control_secret and not self.agent:
            raise ValueError("a control-secret without an agent: nobody can load models then")
        return self
