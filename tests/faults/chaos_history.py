"""What was sent, seen and killed, in order; and the invariants that must hold of it, whatever was killed."""

import itertools
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ENDED = ("completed", "failed", "cancelled")
ORDER = {"queued": 0, "in_progress": 1, "finalizing": 2, "cancelling": 3, **dict.fromkeys(ENDED, 4)}
REFUSALS = {429, 503, 507}
"""Answers by which a service says that it cannot now; no other may come to a request that is right."""

Event = dict[str, Any]


class Violation(NamedTuple):
    """An invariant that does not hold, and of which job, or of which key."""

    about: str
    what: str


class History:
    """Events in order, from any thread; each is written to a file at once."""

    def __init__(self, path: Path) -> None:
        self.events: list[Event] = []
        self._file = path.open("w", buffering=1)
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def note(self, what: str, about: str = "", **facts: Any) -> None:
        """Something has happened, now, to a job or a key."""
        with self._lock:
            event = {"at_s": round(time.monotonic() - self._began, 3), "what": what, "about": about, **facts}
            self.events.append(event)
            self._file.write(json.dumps(event) + "\n")

    def close(self) -> None:
        """Write no more."""
        self._file.close()

    def of(self, what: str) -> list[Event]:
        """Events of a kind."""
        with self._lock:
            return [event for event in self.events if event["what"] == what]

    def story(self, about: str) -> list[Event]:
        """All that has happened to a job, under its id and its key, and what was killed meanwhile."""
        with self._lock:
            names = {about} | {event["about"] for event in self.events if event.get("job") == about}
            mine = [place for place, event in enumerate(self.events) if names & {event["about"], event.get("job")}]
            meanwhile = self.events[mine[0] : mine[-1] + 1] if mine else []
            return [each for each in meanwhile if names & {each["about"], each.get("job")} or each["what"] in KILLS]


KILLS = ("kill", "start")


def violations(events: Sequence[Event]) -> list[Violation]:
    """All invariants that do not hold of a history."""
    accepted = {event["job"]: event for event in events if event["what"] == "accepted"}
    by_job: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event["what"] in ("seen", "cancel asked", "read", "deleted", "gone"):
            by_job[event["about"]].append(event)
    found = [Violation(event["about"], f"a request was answered {event['status']}") for event in _wrongly(events)]
    found += _keys(events)
    for job, first in accepted.items():
        found += [Violation(job, what) for what in _of_a_job(first, by_job[job])]
    return found


def _wrongly(events: Iterable[Event]) -> Iterator[Event]:
    return (event for event in events if event["what"] == "refused" and event["status"] not in REFUSALS)


def _keys(events: Iterable[Event]) -> Iterator[Violation]:
    """The same key gives one job."""
    jobs: dict[str, set[str]] = defaultdict(set)
    for event in events:
        if event["what"] == "accepted":
            jobs[event["about"]].add(event["job"])
    return (Violation(key, f"one key gave the jobs {sorted(each)}") for key, each in jobs.items() if len(each) > 1)


def _of_a_job(accepted: Event, events: Sequence[Event]) -> Iterator[str]:
    """
    A job that was accepted ends, whole; what was once seen of it is never taken back.

    Args:
        accepted: When it was, with how many `rows` of which how many are `bad`.
        events: What was seen of it afterwards.
    """
    seen = [event for event in events if event["what"] == "seen"]
    if any(event["what"] == "gone" for event in events):
        yield "it was accepted, and is not there"
    yield from _backwards(seen)
    if not seen or seen[-1]["status"] not in ENDED:
        yield f"it was accepted and has not ended: {seen[-1] if seen else 'nothing was seen of it'}"
        return
    last = seen[-1]
    was_cancelled = any(event["what"] == "cancel asked" for event in events)
    if last["status"] == "failed" or (last["status"] == "cancelled" and not was_cancelled):
        yield f"it is {last['status']}: {last['reason']}"
    wanted = (accepted["rows"] - accepted["bad"], accepted["bad"])
    if last["status"] == "completed" and (last["completed"], last["failed"]) != wanted:
        yield f"it has counted {last['completed']} + {last['failed']} rows, not {wanted[0]} + {wanted[1]}"
    yield from (f"when read: {event['wrong']}" for event in events if event["what"] == "read" and event["wrong"])
    if last["status"] == "completed" and not any(event["what"] == "read" for event in events):
        yield "its results could not be read"


def _backwards(seen: Sequence[Event]) -> Iterator[str]:
    """Where a state went back, a count fell, or an ended job changed."""
    for before, after in itertools.pairwise(seen):
        if before["status"] in ENDED:
            yield f"it had ended, and changed from {_brief(before)} to {_brief(after)}"
        elif ORDER[after["status"]] < ORDER[before["status"]]:
            yield f"its state went back from {before['status']} to {after['status']}"
        elif after["completed"] < before["completed"] or after["failed"] < before["failed"]:
            yield f"its counts fell from {_brief(before)} to {_brief(after)}"


def _brief(event: Event) -> str:
    return f"{event['status']} {event['completed']} + {event['failed']}"
