"""Which GPUs a container would have that no plan was built for."""

import pytest

from builder.flow.contained import unplanned


@pytest.mark.parametrize(
    ("gpus", "given", "planned", "without"),
    [
        (["8.9"], "all", ["8.0", "8.9"], []),
        (["8.6"], "all", ["8.0", "8.9"], ["8.6"]),
        (["8.9", "7.5", "7.5"], "all", ["8.9"], ["7.5"]),
        (["8.9", "7.5"], "0", ["8.9"], []),
        (["8.9", "7.5"], "1", ["8.9"], ["7.5"]),
        (["8.9", "7.5"], "0,1,2", ["8.9"], ["7.5"]),
        (["8.6"], "GPU-2f68f999-7b41-e64a-3709-0c8c4fa756c0", ["8.9"], []),
        ([], "all", ["8.9"], []),
    ],
)
def test_every_gpu_that_the_container_gets_needs_a_plan(gpus, given, planned, without):
    assert unplanned(gpus, given, planned) == without
