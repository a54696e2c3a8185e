"""Projects with a mistake, and what is said of it."""

import pytest

from builder.errors import BuilderError
from builder.spec.project import load
from tests.projects import SPEC, model


def refused(root):
    with pytest.raises(BuilderError) as caught:
        load(root)
    assert caught.value.exit_code == 2
    return str(caught.value)


def edited(root, old, new, **kwargs):
    assert old in SPEC
    model(root, spec=SPEC.replace(old, new), **kwargs)
    return refused(root)
