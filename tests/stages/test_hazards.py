"""What a source asks of the world that no key names is found, at its line, and nothing else is."""

from __future__ import annotations

import builtins
import datetime as dt
import importlib
import importlib.util
import os
import random
import socket
import textwrap
import time
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from builder.stages.usercode import source

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "models/x"


def write(project: Path, text: str, name: str = "source.py") -> None:
    path = project / FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))


def facts(project: Path) -> dict[str, object]:
    function = source.function(f"{FOLDER}/source.py:go", project)
    return source.invoke(function, doing="asking")[1].facts(project)


def found(project: Path, statement: str, imports: str = "") -> list[tuple[str, str, str]]:
    """What is unstable about a source whose line 3 is the statement."""
    write(project, f"{imports}\ndef go():\n    {statement}\n")
    return rows(project)


def rows(project: Path) -> list[tuple[str, str, str]]:
    return [(h["what"], h["call"], h["where"]) for h in facts(project)["unstable"]]


def variables(found: dict[str, Any]) -> list[str]:
    return [read for read in found["reads"] if read.startswith("environment:")]


LINE = "models/x/source.py:3"


@pytest.mark.parametrize(
    ("imports", "statement", "call"),
    [
        ("import time", "time.time()", "time.time"),
        ("from time import time", "time()", "time.time"),
        ("import time", "time.time_ns()", "time.time_ns"),
        ("import time", "time.localtime()", "time.localtime"),
        ("import time", "time.gmtime(None)", "time.gmtime"),
        ("import time", "time.ctime()", "time.ctime"),
        ("import time", "time.asctime()", "time.asctime"),
        ("import time", "time.strftime('%Y')", "time.strftime"),
        ("import time", "time.clock_gettime(time.CLOCK_REALTIME)", "time.clock_gettime"),
        ("import datetime", "datetime.datetime.now()", "datetime.datetime.now"),
        ("import datetime as d", "d.datetime.now(d.timezone.utc)", "datetime.datetime.now"),
        ("from datetime import datetime", "datetime.utcnow()", "datetime.datetime.utcnow"),
        ("from datetime import datetime", "datetime.today()", "datetime.datetime.today"),
        ("from datetime import date", "date.today()", "datetime.date.today"),
    ],
)
def test_a_read_of_the_clock_is_found_at_its_line(tmp_path, imports, statement, call):
    assert found(tmp_path, statement, imports) == [("clock", call, LINE)]


@pytest.mark.parametrize(
    ("imports", "statement", "call"),
    [
        ("import os", "os.urandom(4)", "os.urandom"),
        ("import os", "os.getrandom(4)", "os.getrandom"),
        ("from os import urandom", "urandom(4)", "os.urandom"),
        ("import secrets", "secrets.token_bytes(4)", "secrets.token_bytes"),
        ("import secrets", "secrets.randbelow(4)", "secrets.randbelow"),
        ("import uuid", "uuid.uuid4()", "uuid.uuid4"),
        ("import uuid", "uuid.uuid1()", "uuid.uuid1"),
        ("import random", "random.SystemRandom().random()", "random.SystemRandom.random"),
        ("import random", "random.seed()", "random.seed"),
        ("import random", "random.Random().random()", "random.Random"),
        ("import random", "random.Random(3).seed()", "random.Random.seed"),
        ("", "open('/dev/urandom', 'rb').close()", "/dev/urandom"),
        ("import numpy as np", "np.random.default_rng()", "numpy.random without a seed"),
        ("import numpy as np", "np.random.seed(None)", "numpy.random without a seed"),
        ("import numpy as np", "np.random.seed()", "numpy.random without a seed"),
        ("import numpy as np", "np.random.SeedSequence()", "numpy.random without a seed"),
        ("import numpy as np", "np.random.RandomState()", "numpy.random without a seed"),
    ],
)
def test_unseeded_randomness_is_found_at_its_line(tmp_path, imports, statement, call):
    assert found(tmp_path, statement, imports) == [("randomness", call, LINE)]


@pytest.mark.export
@pytest.mark.parametrize("statement", ["torch.seed()", "torch.Generator().seed()"])
def test_a_seed_that_torch_draws_is_found_at_its_line(tmp_path, statement):
    assert found(tmp_path, statement, "import torch") == [("randomness", "torch.seed", LINE)]


def test_numpy_left_unseeded_by_a_library_is_found_where_the_source_calls_it(tmp_path):
    stats = pytest.importorskip("scipy.stats")
    assert stats
    assert found(tmp_path, "qmc.Halton(2).random(1)", "from scipy.stats import qmc") == [
        ("randomness", "numpy.random without a seed", LINE)
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "socket.getaddrinfo('host.invalid', 80)",
        "socket.gethostbyname('host.invalid')",
        "urllib.request.urlopen('http://host.invalid/')",
        "socket.create_connection(('host.invalid', 80))",
        "socket.create_connection(('192.0.2.1', 80), timeout=0.01)",
    ],
)
def test_a_look_into_the_network_is_found_whether_or_not_there_is_any(tmp_path, statement):
    text = (
        f"import socket, urllib.request\ndef go():\n    try: {statement}\n    except OSError: 0\n"
    )
    write(tmp_path, text)
    assert [(what, where) for what, _, where in rows(tmp_path)] == [("network", LINE)]


def test_a_connection_to_an_address_is_found_though_no_name_is_looked_up(tmp_path):
    write(
        tmp_path,
        """
        import contextlib, socket
        def go():
            with socket.socket(type=socket.SOCK_DGRAM) as s, contextlib.suppress(OSError):
                s.connect(("192.0.2.1", 9))
        """,
    )
    assert rows(tmp_path) == [("network", "socket.connect", "models/x/source.py:5")]


def test_talk_within_the_machine_is_no_network(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        statement = f"socket.create_connection(('localhost', {port})).close()"
        assert found(tmp_path, statement, "import socket") == []


def test_a_hazard_in_a_helper_names_the_helper(tmp_path):
    write(tmp_path, "import time\nNOW = time.time()\n", "helper.py")
    assert found(tmp_path, "import helper; return helper.NOW") == [
        ("clock", "time.time", "models/x/helper.py:2")
    ]


def test_a_hazard_at_the_top_of_a_source_is_found_though_it_ran_long_before(tmp_path):
    write(tmp_path, "import time\nNOW = time.time()\ndef go(): return NOW\n")
    for _ in range(2):
        assert rows(tmp_path) == [("clock", "time.time", "models/x/source.py:2")]


def test_a_hazard_in_a_thread_of_the_source_is_found(tmp_path):
    write(
        tmp_path,
        """
        import os, threading
        def draw():
            os.urandom(1)
        def go():
            thread = threading.Thread(target=draw)
            thread.start()
            thread.join()
        """,
    )
    assert rows(tmp_path) == [("randomness", "os.urandom", "models/x/source.py:4")]


def test_code_made_on_the_fly_counts_as_its_makers(tmp_path):
    write(
        tmp_path,
        """
        import time
        from dataclasses import dataclass, field
        @dataclass
        class Stamp:
            at: float = field(default_factory=time.time)
        def go():
            return Stamp()
        """,
    )
    assert rows(tmp_path) == [("clock", "time.time", "models/x/source.py:8")]


def test_a_function_that_did_not_run_is_no_hazard(tmp_path):
    write(tmp_path, "import time\ndef other(): return time.time()\ndef go(): return 1\n")
    assert rows(tmp_path) == []


def test_seeded_and_timing_calls_are_no_hazards(tmp_path):
    write(
        tmp_path,
        """
        import copy, datetime, pickle, random, time, uuid
        import numpy as np
        def go():
            copy.deepcopy(np.random.RandomState(7)).rand()
            pickle.loads(pickle.dumps(np.random.default_rng(8))).normal()
            random.seed(1); random.random(); random.Random(2).random()
            np.random.seed(3); np.random.rand(2); np.random.default_rng(4).normal()
            np.random.RandomState(5).rand(); np.random.SeedSequence(6).generate_state(1)
            time.perf_counter(); time.monotonic(); time.process_time(); time.sleep(0)
            time.clock_gettime(time.CLOCK_MONOTONIC)
            time.gmtime(0); time.strftime("%Y", time.gmtime(0)); time.asctime(time.gmtime(0))
            datetime.datetime(2020, 1, 1).isoformat(); datetime.datetime.fromtimestamp(0)
            return uuid.uuid5(uuid.NAMESPACE_DNS, "x")
        """,
    )
    assert rows(tmp_path) == []


def test_a_seed_given_to_one_generator_does_not_excuse_another(tmp_path):
    write(
        tmp_path,
        """
        import numpy as np
        def go():
            for seed in (None, 5):
                np.random.RandomState(seed)
        """,
    )
    assert [where for _, _, where in rows(tmp_path)] == ["models/x/source.py:5"]


def test_what_libraries_do_for_themselves_is_no_hazard(tmp_path):
    write(
        tmp_path,
        """
        import logging, multiprocessing, tempfile, warnings
        import numpy as np
        def go():
            logging.getLogger("x").warning("told")
            with tempfile.TemporaryDirectory() as folder:
                np.save(f"{folder}/a.npy", np.zeros(1))
                with tempfile.NamedTemporaryFile(dir=folder): pass
            multiprocessing.Queue().close()
        """,
    )
    assert rows(tmp_path) == []


def test_what_the_import_of_a_library_draws_is_no_hazard(tmp_path, monkeypatch):
    site = tmp_path / "site-packages"
    site.mkdir()
    (site / "dicing.py").write_text("import numpy\nRNG = numpy.random.default_rng()\n")
    monkeypatch.syspath_prepend(str(site))
    assert found(tmp_path / "project", "import dicing") == []


@pytest.mark.export
def test_loading_with_the_usual_libraries_is_no_hazard(tmp_path):
    for package in ("transformers", "sklearn", "joblib"):
        pytest.importorskip(package)
    write(
        tmp_path,
        """
        import pathlib, tempfile
        import joblib, numpy as np, torch
        from safetensors.torch import load_file, save_file
        from sklearn.datasets import load_digits
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.model_selection import train_test_split
        def go():
            from transformers import AutoModel, BertConfig, BertModel
            small = BertConfig(
                hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
                vocab_size=20,
            )
            rows, labels = load_digits(return_X_y=True)
            train, _, known, _ = train_test_split(rows, labels)
            forest = RandomForestClassifier(3, n_jobs=2).fit(train, known)
            with tempfile.TemporaryDirectory() as folder:
                BertModel(small).save_pretrained(folder)
                model = AutoModel.from_pretrained(folder)
                save_file(model.state_dict(), f"{folder}/w.safetensors")
                load_file(f"{folder}/w.safetensors")
                torch.save(model.state_dict(), f"{folder}/w.pt")
                torch.load(f"{folder}/w.pt")
                joblib.dump(forest, f"{folder}/forest")
                joblib.load(f"{folder}/forest")
            list(torch.utils.data.DataLoader(torch.rand(4, 2), shuffle=True))
        """,
    )
    assert rows(tmp_path) == []


def test_hazards_come_in_the_order_of_their_places(tmp_path):
    write(tmp_path, "import time\ndef go():\n" + "    time.time()\n" * 7)
    assert [where for _, _, where in rows(tmp_path)] == [
        f"models/x/source.py:{line}" for line in range(3, 10)
    ]


def test_facts_are_the_same_in_every_run(tmp_path):
    write(
        tmp_path,
        """
        import os, time, uuid
        def go():
            for _ in range(3):
                time.time(); uuid.uuid4(); os.environ.get("B"); os.environ.get("A")
        """,
    )
    first = facts(tmp_path)
    assert first == facts(tmp_path)
    assert variables(first) == ["environment:A", "environment:B"]
    assert [h["call"] for h in first["unstable"]] == ["time.time", "uuid.uuid4"]


@pytest.mark.parametrize(
    "statement",
    [
        "os.environ['HOME']",
        "os.environ.get('HOME')",
        "os.getenv('HOME')",
        "'HOME' in os.environ",
        "from os import environ; environ.get('HOME', '')",
    ],
)
def test_a_variable_that_the_source_reads_is_an_input(tmp_path, monkeypatch, statement):
    monkeypatch.setenv("HOME", "/nowhere")
    write(tmp_path, f"import os\ndef go():\n    {statement}\n")
    assert variables(facts(tmp_path)) == ["environment:HOME"]


def test_variables_that_libraries_read_that_are_copied_or_set_here_are_no_inputs(tmp_path):
    write(
        tmp_path,
        """
        import os, pathlib, subprocess, sys
        def go():
            pathlib.Path("~").expanduser()
            subprocess.run([sys.executable, "-c", ""], env={**os.environ, "X": "1"})
            dict(os.environ); os.environ.copy(); list(os.environ.items())
            os.environ["SET_BY_A_SOURCE"] = "1"
            return os.environ["SET_BY_A_SOURCE"]
        """,
    )
    assert variables(facts(tmp_path)) == []


def test_everything_is_as_it_was_afterwards(tmp_path):
    parts = (
        lambda: time.time,
        lambda: os.urandom,
        lambda: uuid.uuid1,
        lambda: random.seed,
        lambda: random.Random.seed,
        lambda: vars(dt.datetime)["now"],
        lambda: vars(dt.date)["today"],
        lambda: os._Environ.__getitem__,
        lambda: np.random.bit_generator.randbits,
        lambda: vars(np.random.MT19937)["_legacy_seeding"],
        lambda: builtins.__import__,
        lambda: importlib.import_module,
        lambda: importlib.util.find_spec,
    )
    before = [part() for part in parts]
    write(tmp_path, "def go(): 1 / 0\n")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        facts(tmp_path)
    assert [part() for part in parts] == before
    assert dt.datetime.now(dt.UTC) > dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
