"""The stages of a project one after another in this process: no engine, no store, no digests."""

import importlib
import shutil
import sys
from pathlib import Path

from builder.flow.context import context
from builder.stages.job import Job


def main(root: Path, out: Path) -> None:
    here = context(root, None)
    runtime = here.install(print).runtime
    folders: dict[str, Path] = {}
    for number, action in enumerate(here.graph.actions.values()):
        folders[action.id] = out / str(number)
        shutil.rmtree(folders[action.id], ignore_errors=True)
        folders[action.id].mkdir(parents=True)
        stage = importlib.import_module(f"builder.stages.{action.stage}")
        inputs = {label: folders[id_] for label, id_ in action.inputs.items()}
        job = Job(action.params, inputs, root, folders[action.id], action.id, runtime)
        stage.run(job)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
