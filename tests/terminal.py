"""A terminal: what is on its screen when a program has ended, bars and their erasing included."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Sequence

ROWS = 50
PIECE = re.compile(r"\x1b\[(?P<n>\??\d*)[;\d]*(?P<code>[A-Za-z])|\r|\n|[^\x1b\r\n]+")


def shown(command: Sequence[str], columns: int) -> tuple[int, list[str]]:
    """Exit code, and the lines that the command leaves in a terminal of so many columns, which are not wrapped here."""
    code, written = raw(command, columns)
    return code, screen(written)


def raw(command: Sequence[str], columns: int) -> tuple[int, str]:
    """Exit code, and all that the command writes to such a terminal, with what moves the cursor and colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    wide = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")} | {"TERM": "xterm"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=wide, close_fds=True) as running:
        os.close(theirs)
        written = b"".join(iter(lambda: read(ours), b""))
    os.close(ours)
    return running.returncode, written.decode()


def read(terminal: int) -> bytes:
    """What came; empty at the end, which Linux says by an error."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        return b""


def screen(written: str) -> list[str]:
    """The lines after every carriage return, cursor up and erasing of a line."""
    lines, row, column = [""], 0, 0
    for piece in PIECE.finditer(written):
        text, code = piece.group(), piece["code"]
        if text == "\r":
            column = 0
        elif text == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif code == "A":
            row = max(0, row - int(piece["n"] or 1))
        elif code == "K":
            lines[row] = "" if piece["n"] == "2" else lines[row][:column]
        elif code is None:
            lines[row] = lines[row].ljust(column)[:column] + text + lines[row][column + len(text) :]
            column += len(text)
    return lines
