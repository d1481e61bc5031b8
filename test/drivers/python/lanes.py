"""Serves lanes, each in a thread of its own: see ../program.ts for requests and replies."""

import json
import queue
import re
import sys
import threading

_output = threading.Lock()


def reply(lane, **answer):
    """Writes what came of a request: its value, or its error as `told` has it."""
    line = json.dumps({"lane": lane, **answer}, default=str, ensure_ascii=False)
    with _output:
        sys.stdout.buffer.write(line.encode() + b"\n")
        sys.stdout.buffer.flush()


def told(error, state_of):
    """An error for the test."""
    return {"state": state_of(error), "message": f"{type(error).__name__}: {error}"}


def requests():
    """Requests as they come: lane, op, and what else they have."""
    for line in sys.stdin.buffer:
        request = json.loads(line)
        yield request.pop("lane"), request.pop("op"), request


def serve(make_lane, state_of):
    """Gives each lane an object of its own, whose method of the name of an op does it; `now` comes beside it."""
    lanes = {}
    queues = {}

    def work(number):
        while True:
            op, rest = queues[number].get()
            try:
                reply(number, value=getattr(lanes[number], op)(**rest))
            except Exception as error:  # whatever it is
                reply(number, error=told(error, state_of))

    for number, op, rest in requests():
        if number not in lanes:
            lanes[number] = make_lane()
            queues[number] = queue.Queue()
            threading.Thread(target=work, args=[number], daemon=True).start()
        if op == "now":
            lanes[number].now()
        else:
            queues[number].put((op, rest))


def with_percent(text, values):
    """The text with `%s` for `$1`, `$2`, …, and what stands for itself doubled, if there are values at all."""
    return re.sub(r"\$\d+", "%s", text.replace("%", "%%")) if values else text


def sample_row(row, document=lambda value: value):
    """A row of `samples` as the test compares it."""
    row = dict(row)
    return {**row, "big": str(row["big"]), "num": str(row["num"]), "at": row["at"].isoformat(), "doc": document(row["doc"])}


class Pools:
    """Pools that several lanes share, by number; each goes with the last lane that uses it."""

    class Shared:
        def __init__(self):
            self.value = None
            self.lanes = 0
            self.lock = threading.Lock()

    def __init__(self, make, dispose):
        self._make = make
        self._dispose = dispose
        self._pools = {}
        self._lock = threading.Lock()

    def open(self, target, pool, connections):
        with self._lock:
            shared = self._pools.setdefault(pool, Pools.Shared())
        with shared.lock:
            shared.value = shared.value or self._make(target, connections)
            shared.lanes += 1
        return shared

    def close(self, shared):
        with shared.lock:
            shared.lanes -= 1
            if shared.lanes == 0:
                self._dispose(shared.value)
