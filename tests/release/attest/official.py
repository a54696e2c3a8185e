"""The official program for signatures of models."""

import subprocess
import sys


def official(*arguments):
    """Runs the command `model_signing`."""
    return subprocess.run(
        [sys.executable, "-m", "model_signing", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def official_verify(tree, signature, key):
    return official("verify", "key", "--public_key", key, "--signature", signature, tree)


def official_sign(tree, signature, keys, *more):
    done = official(
        "sign", "key", "--private_key", keys.private, "--signature", signature, *more, tree
    )
    assert done.returncode == 0, done.stderr
    return signature.read_bytes()
