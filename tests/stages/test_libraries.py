"""What a source leaves behind in libraries is found out, and only that."""

import random

import pytest

from builder.stages.usercode import libraries
from builder.stages.usercode.libraries import written

FOUND = {
    "import numpy as np\nnp.array = mine": "numpy.array",
    "import numpy\nnumpy.linalg.norm, x = mine, 1": "numpy.linalg.norm",
    "import torch.nn.functional\ntorch.nn.functional.relu = mine": "torch.nn.functional.relu",
    "import torch.nn.functional as F\nF.relu = mine": "torch.nn.functional.relu",
    "from torch import nn\ndef load():\n    nn.Linear.forward = mine": "torch.nn.Linear.forward",
    "from torch.nn import Linear as L\nL.forward: object = mine": "torch.nn.Linear.forward",
    "import torch\nF = torch.nn.functional\nF.relu = mine": "torch.nn.functional.relu",
    "from torch import nn\nfor c in (nn.RNN,):\n    c.forward = mine": "torch.nn.RNN.forward",
    "import torch\ntorch.backends.cudnn.enabled = False": "torch.backends.cudnn.enabled",
    "import numpy as np\nnp.core.x += 1": "numpy.core.x",
    "import numpy as np\ndel np.float": "numpy.float",
    "import numpy as np\nsetattr(np, 'float', float)": "numpy.float",
    "import numpy as np\nsetattr(np, name, float)": "numpy....",
    "import numpy as np\nvars(np)['float'] = float": "vars(...)[...]",
    "from transformers.activations import ACT2FN\nACT2FN['gelu'] = mine": "transformers.activations"
    ".ACT2FN[...]",
    "import sys\nsys.modules['torch'].x = 1": "sys.modules[...].x",
    "import importlib\nimportlib.import_module('a').x = 1": "import_module(...).x",
    "def load(m):\n    m.__class__.forward = mine": "its class.forward",
    "def load(m):\n    type(m).forward = mine": "type(...).forward",
}

SOUND = [
    "from torch import nn\nclass M(nn.Module):\n    def f(self):\n        self.a = nn.GRU(1, 1)",
    "import torch\nm = torch.nn.Linear(2, 2)\nm.forward = mine\nm.weight.data[0] = 1",
    "import numpy as np\nx = np.zeros(3)\nx[0] = 1\nx.flags.writeable = False",
    "import torch\ny = torch.ones(2, dtype=torch.int64)\nz = y == 1",
    "import os\nos.environ['HF_HUB_OFFLINE'] = '1'",
    "import sys\nsys.dont_write_bytecode = True",
    "from . import helper\nhelper.state = 1",
    "x = {}\nx['a'] = 1\ndel x['a']",
    "def broken(:\n    import torch; torch.x = 1",
]


@pytest.mark.parametrize("text", FOUND)
def test_what_is_set_in_an_import_is_found(text):
    assert FOUND[text] in written(text.encode())


@pytest.mark.parametrize("text", SOUND)
def test_what_is_ones_own_is_not(text):
    assert written(text.encode()) == frozenset()


@pytest.fixture
def ran(tmp_path):
    """Has sources of a project run; says what they changed."""
    libraries.changed()

    def run(**texts):
        libraries.remember()
        for name, text in texts.items():
            (tmp_path / f"{name}.py").write_text(text)
            exec(text, {"__file__": str(tmp_path / f"{name}.py")})  # noqa: S102
        libraries.ran(str(tmp_path / f"{name}.py") for name in texts)
        return libraries.changed()

    yield run
    libraries.changed()


def test_a_projects_own_modules_are_no_libraries(ran):
    assert ran(source="import os as helper\nhelper.x = 1", os="x = 0") == []


def test_what_is_done_behind_a_name_is_found_in_everybodys_libraries(ran, monkeypatch):
    monkeypatch.setattr(random, "choice", random.choice)
    done = "import random\nexec('random.choice = lambda things: things[0]')"
    assert ran(source=done) == ["random.choice"]


def test_a_name_that_was_not_there_is_found(ran, monkeypatch):
    import numpy as np

    monkeypatch.setattr(np, "triton_builder", None, raising=False)
    monkeypatch.delattr(np, "triton_builder")
    assert ran(source="import numpy\nexec('numpy.triton_builder = float')") == [
        "numpy.triton_builder"
    ]
    del np.triton_builder


def test_nothing_is_looked_at_twice(ran):
    assert ran(source="import random\nrandom.triton_builder = 1") == ["random.triton_builder"]
    assert libraries.changed() == []
    del random.triton_builder
