import os
import threading
import time

import pytest

from builder.servers import programs


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
