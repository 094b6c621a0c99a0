from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = """
import multiprocessing, os, sys, time
from stages.teacher.engines.orphans import die_with_parent

class Slow:
    "Read by a spawned child while it unpickles what it is to run; its starter dies meanwhile."

    def __reduce__(self):
        return late, (os.getpid(),)

def late(starter):
    print(os.getpid(), flush=True)
    while os.getppid() == starter:
        time.sleep(0.01)
    os.environ["MIPD_PIPE_STARTER"] = str(starter)
    die_with_parent()
    time.sleep(120)

def child(send, protect):
    if protect:
        die_with_parent()
    send.send("ready")
    time.sleep(120)

if __name__ == "__main__" and sys.argv[1] == "late":
    multiprocessing.get_context("spawn").Process(target=print, args=(Slow(),)).start()
    time.sleep(120)
elif __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(send, sys.argv[2] == "yes"))
    process.start()
    receive.recv()
    print(process.pid, flush=True)
    time.sleep(120)
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux's")


def orphan_after_kill(folder: Path, method: str, protect: str) -> int:
    """Starts a program with one child, kills the program, and returns the child's process id."""
    path = folder / "program.py"
    path.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, str(path), method, protect], stdout=subprocess.PIPE, text=True, env=environment
    ) as program:
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        program.kill()
    return pid


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_child_ends_with_its_killed_parent(tmp_path: Path, method: str) -> None:
    pid = orphan_after_kill(tmp_path, method, "yes")
    end = time.monotonic() + 20
    while is_alive(pid) and time.monotonic() < end:
        os.sched_yield()
    assert not is_alive(pid)


def test_a_child_whose_parent_died_before_it_could_ask_ends_by_itself(tmp_path: Path) -> None:
    """Its parent is not known to multiprocessing yet, only by the number in its environment."""
    pid = orphan_after_kill(tmp_path, "late", "yes")
    end = time.monotonic() + 20
    while is_alive(pid) and time.monotonic() < end:
        os.sched_yield()
    assert not is_alive(pid)


def test_a_starter_that_lives_need_not_be_the_parent() -> None:
    code = (
        "import multiprocessing, os; from stages.teacher.engines.orphans import die_with_parent\n"
        "if __name__ == '__main__':\n"
        f"    os.environ['MIPD_PIPE_STARTER'] = '{os.getpid()}'\n"
        "    child = multiprocessing.get_context('fork').Process(target=die_with_parent)\n"
        "    child.start(); child.join(); print(child.exitcode)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


def test_without_it_the_child_lives_on(tmp_path: Path) -> None:
    pid = orphan_after_kill(tmp_path, "fork", "no")
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)


def test_it_does_nothing_in_a_process_that_nobody_spawned() -> None:
    code = "from stages.teacher.engines.orphans import die_with_parent; die_with_parent(); print('here')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "here\n"
