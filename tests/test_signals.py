"""A signal at any instruction of `main` ends in an exit code, never in a traceback."""

import json
import signal
import subprocess
import sys

import pytest

ESCAPED = 99  # as below, where a KeyboardInterrupt came out of `main`

# Strike(n) sends the signals before the n-th instruction of the module of `main`, in a process that is forked for it.
PROGRAM = """
import json, os, signal, sys, tempfile
from cxremb.cli import main as module
from cxremb.errors import CxrembError

words, numbers = json.loads(sys.argv[1]), json.loads(sys.argv[2])


def fail():
    raise CxrembError("no such thing", hint="take another")


class Strike:
    def __init__(self, n):
        self.left = n

    def __call__(self, frame, event, argument):
        if frame.f_code.co_filename != module.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                for number in numbers:
                    os.kill(os.getpid(), number)
        return self


def tried(n):
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if not child:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            sys.argv = ["cxremb", *words]
            if not words:
                module.app = fail
            strike = Strike(n)
            sys.settrace(strike)
            try:
                module.main()
            except SystemExit as end:
                sys.settrace(None)
                code = end.code or 0
            except KeyboardInterrupt:
                code = ESCAPED
            sys.stdout.flush()
            os._exit(200 if strike.left > 0 and code == BEFORE else code)
        _, status = os.waitpid(child, 0)
        said.seek(0)
        return os.waitstatus_to_exitcode(status), said.read().decode()


BEFORE, ESCAPED = 0 if words else 1, 99
found, n = [], 1
while (one := tried(n))[0] != 200:
    found.append(one)
    n += 1
print(json.dumps(found))
"""


@pytest.mark.parametrize("numbers", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGINT, signal.SIGTERM]])
@pytest.mark.parametrize(("words", "code"), [(["--version"], 0), ([], 1)])
def test_at_every_instruction(numbers: list[int], words: list[str], code: int) -> None:
    """Of a command that is done and of one that fails. A second signal strikes in the answer to the first."""
    program = [sys.executable, "-c", PROGRAM, json.dumps(words), json.dumps(numbers)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    ends = [ended for ended, _ in found]
    systems = [n for n, ended in enumerate(ends) if ended in {-signal.SIGTERM, ESCAPED}]  # no handler of ours yet
    own, stopped = max(systems) + 1, ends.index(code)
    assert own < 70
    assert ends[own:stopped] == [128 + numbers[0]] * (stopped - own)
    assert ends[stopped:] == [code] * (len(ends) - stopped)
    assert stopped - own > 60
    assert len(ends) - stopped > 5
    assert not any("Traceback" in said for _, said in found)


def test_a_signal_outside_of_a_command_has_the_same_code() -> None:
    script = (
        "import os, signal, time\n"
        "from cxremb.cli import main\n"
        "main.app = lambda: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(5))\n"
        "main.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (143, b"")
