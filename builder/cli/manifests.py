"""What a cluster runs a release with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.cli.options import json_option, target_option
from builder.cli.printing import print_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.deploy.settings import Deployment
    from builder.report.measured import Measured
    from builder.repository.manifest import Manifest
    from builder.spec.target import Settings, Target

SETTINGS = "deploy.yaml"
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("manifests")
@target_option
@click.option("--settings", "file", type=FILE, help=f"Default: {SETTINGS}, if there is one.")
@click.option("--store", metavar="URL", help="The release store, as pods reach it.")
@click.option("--channel", metavar="C", help="Follow this; default: this very release, for ever.")
@click.option("--agent", is_flag=True, default=None, help="Bring running pods to the channel too.")
@click.option("--image", help="Triton's; default: the target's.")
@click.option("--pull-image", metavar="IMAGE", help="With triton-builder[agent] in it.")
@click.option("--verify-key", type=FILE, help="A public key in PEM that releases are signed with.")
@click.option("--verify-identity", metavar="WHO", help="Who must have signed them at Sigstore.")
@click.option("--verify-issuer", metavar="URL", help="Who vouches for that identity.")
@click.option("--trust-config", type=FILE, help="Of a Sigstore of one's own.")
@click.option(
    "--job",
    metavar="IMAGE",
    help="Only a Job that proves the target beside a Triton of its own; IMAGE has this project in "
    "/project, and triton-builder[build].",
)
@click.option(
    "--report",
    type=FILE,
    help="What `validate --json` printed: loads and memory. Default: what builds here measured.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Default: kubernetes/<target>/ in the project.",
)
@json_option
@click.pass_obj
def command(  # noqa: PLR0913 - the command's options
    options: dict[str, Any],
    /,
    *,
    target: str | None,
    file: Path | None,
    report: Path | None,
    job: str | None,
    out: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Write Kubernetes manifests for a target's repository."""
    from builder.deploy import manifests, summary
    from builder.spec.project import find, read_settings

    root = find(options["start"])
    project = read_settings(root)
    name = target or project.default_target
    said = _settings(root, file, given)
    if job is not None:
        from builder.deploy.job import job as validation

        made = validation(name, _target(project, name), said, job, project.remote_cache)
        folder = out or root / "kubernetes" / f"{name}-validation"
        changed = manifests.put({"job.yaml": manifests.dump(made)}, folder)
        if as_json:
            print_json(folder=str(folder), changed=changed, job=made["metadata"]["name"])
        else:
            print(f"{folder}/job.yaml: {'changed' if changed else 'nothing changed'}")
        return
    context = manifests.context(
        _manifest(root, name),
        _target(project, name),
        said,
        _measured(report, root / "repository", name),
        store=_store(said, project),
        verify_key=_key(root, said),
        trust_config=_trust_config(root, said),
    )
    folder = out or root / "kubernetes" / name
    changed = manifests.write(context, folder)
    told = summary.summary(context)
    if as_json:
        print_json(folder=str(folder), changed=changed, **told)
        return
    for pods in told["pods"]:
        print(f"{pods['name']}: {', '.join(pods['models'])}")
        print(f"  starts within {pods['startup']}; {pods['memory']} of memory")
    print(f"{folder}: {f'{len(changed)} files changed' if changed else 'nothing changed'}")


def _settings(root: Path, file: Path | None, given: Mapping[str, Any]) -> Deployment:
    """The settings' file, with what the command line says in its place."""
    from builder.deploy.settings import Deployment
    from builder.spec.document import Document, parse, read

    path = file or root / SETTINGS
    found = read(path, path.name) if file or path.exists() else Document("command line", {}, {})
    said = {name.replace("_", "-"): value for name, value in given.items() if value is not None}
    for name in ("verify-key", "trust-config"):  # of the command line: from where it is given
        if name in said:
            said[name] = str(said[name].absolute())
    return parse(Document(found.name, found.value | said, found.lines), Deployment)


def _manifest(root: Path, target: str) -> Manifest:
    from builder.errors import InputError
    from builder.repository import manifest

    found = manifest.read(root / "repository" / target)
    if found is None:
        raise InputError(
            "nothing is built",
            where=f"repository/{target}",
            fix=f"triton-builder build --target {target}",
        )
    return found


def _target(project: Settings, name: str) -> Target:
    from builder.errors import InputError

    if name not in project.targets:
        raise InputError(
            f"no target `{name}`",
            where="pyproject.toml [tool.triton-builder]",
            found=name,
            expected=", ".join(project.targets),
        )
    return project.targets[name]


def _store(said: Deployment, project: Settings) -> str:
    import os

    from builder.cli.stores import VARIABLE
    from builder.errors import InputError

    found = said.store or os.environ.get(VARIABLE) or project.release_store
    if not found:
        raise InputError(
            "no release store is named that pods could reach",
            where="store",
            expected="an address like s3://bucket/prefix",
            fix=f"give --store URL, or set ${VARIABLE} or release-store in pyproject.toml",
        )
    return found


def _key(root: Path, said: Deployment) -> str | None:
    from builder.errors import InputError

    text = _text(root, said.verify_key, "verify-key")
    if text is None:
        return None
    if "PUBLIC KEY" not in text or "PRIVATE" in text:
        raise InputError(
            "not a public key",
            where="verify-key",
            found=said.verify_key,
            expected="a PEM file that begins with -----BEGIN PUBLIC KEY-----",
            fix="openssl pkey -in PRIVATE.pem -pubout -out PUBLIC.pem",
        )
    return text


def _trust_config(root: Path, said: Deployment) -> str | None:
    import json

    from builder.errors import InputError

    text = _text(root, said.trust_config, "trust-config")
    if text is None:
        return None
    try:
        kind = str(json.loads(text)["mediaType"])
    except (ValueError, KeyError, TypeError):
        kind = "none"
    if "clienttrustconfig" not in kind:
        raise InputError(
            "that is no trust configuration",
            where="trust-config",
            found=f"{said.trust_config}, of the media type {kind}",
            expected="Sigstore's ClientTrustConfig as JSON",
        )
    return text


def _text(root: Path, file: str | None, where: str) -> str | None:
    from builder.errors import InputError

    if file is None:
        return None
    try:
        return (root / file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise InputError("the file cannot be read", where=where, found=e) from e


def _measured(report: Path | None, folder: Path, target: str) -> Measured:
    from builder.report import measured

    if report:
        return measured.read(report.read_bytes(), report.name)
    return measured.kept(folder / measured.file(target))
