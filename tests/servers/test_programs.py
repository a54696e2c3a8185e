import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from builder.servers.embedded import programs


@pytest.fixture(autouse=True)
def _runnable():
    yield
    programs.resume()


def test_a_program_s_code_and_words():
    assert programs.run(["sh", "-c", "echo said; exit 3"], os.environ) == (3, "said\n")


def test_another_thread_can_stop_it_with_all_it_started():
    found = []
    command = ["sh", "-c", "sleep 60 & wait"]
    thread = threading.Thread(target=lambda: found.append(programs.run(command, os.environ)))
    start = time.monotonic()
    thread.start()
    time.sleep(0.3)
    programs.stop()
    thread.join(10)
    assert found[0][0] == -9
    assert time.monotonic() - start < 10


def test_nothing_starts_after_a_stop_until_it_may_again():
    programs.stop()
    assert programs.run(["true"], os.environ)[0] != 0
    programs.resume()
    assert programs.run(["true"], os.environ)[0] == 0


@pytest.mark.slow
def test_an_interrupt_ends_it_with_all_it_started():
    program = (
        "import os; from builder.servers.embedded import programs;"
        "programs.run(['sh', '-c', 'sleep 60 & wait'], os.environ)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as caller:
        below: list[psutil.Process] = []
        deadline = time.monotonic() + 10
        while len(below) < 2 and time.monotonic() < deadline:  # the shell and its sleep
            time.sleep(0.05)
            below = psutil.Process(caller.pid).children(recursive=True)
        caller.send_signal(signal.SIGINT)
    assert len(below) == 2
    _, alive = psutil.wait_procs(below, 5)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    assert not alive
