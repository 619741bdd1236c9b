"""The journal of a run: one line of JSON per sample made or failed, in ``journal.jsonl``.

It is an index for people and for ``status``, and says which samples failed; the sample files are the truth. One writer
at a time holds a lock on the file; every line is made durable before the next sample is counted; a line that a power
cut tore is cut off on the next opening. Other damaged lines are passed over: at worst a failed sample is tried again.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

NAME = "journal.jsonl"


class Journal:
    """The journal of the data set ``out``, open for appending. Raises BlockingIOError where another run holds it."""

    def __init__(self, out: Path) -> None:
        self.file = open(out / NAME, "a+b")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.file.close()
            raise BlockingIOError(f"another run is writing to {out}; wait for it, or choose another folder") from None
        self._cut_torn_line()

    def append(self, record: dict) -> None:
        self.file.write(json.dumps(record).encode() + b"\n")
        self.file.flush()
        os.fsync(self.file.fileno())

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()

    def _cut_torn_line(self) -> None:
        self.file.seek(0)
        whole = self.file.read().rfind(b"\n") + 1
        self.file.truncate(whole)
        self.file.seek(whole)


def read_journal(out: Path) -> dict[int, dict]:
    """The last legible record of each sample: index -> record."""
    path = out / NAME
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    records = (_record(line) for line in lines)
    return {record["index"]: record for record in records if record}


def _record(line: bytes) -> dict:
    """The record of one line; empty where the line is damaged."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("index"), int) else {}
