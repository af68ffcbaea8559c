"""Those who send jobs while parts are killed, and the one who watches what becomes of them."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
import numpy as np

from tests.faults.chaos_history import ENDED, REFUSALS, Event, History
from tests.faults.chaos_work import Pool, Work, draw

TIMEOUT_S = 10.0
MOST_UNFINISHED = 5
"""Jobs that are under way before callers send more: few, or a chunk whose worker is frozen waits behind all others."""
LOOK_S = 0.15


@dataclass
class Known:
    """A job that was accepted: what it asked, the last that was seen of it, and whether its results were read."""

    work: Work
    last: Event | None = None
    to_delete: bool = False
    is_deleting: bool = False
    is_read: bool = False
    is_deleted: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether it was seen to have."""
        return self.last is not None and self.last["status"] in ENDED


@dataclass
class Scene:
    """
    What all threads share.

    Attributes:
        url: Of the service.
        pool: The series.
        history: Of everything.
        kinds: Formats that the service takes.
        results: Formats that it gives.
        jobs: Those that were accepted, by id.
        unsure: Requests whose answer was lost, by their key; '' for one without a key.
        stop: Set when callers are to send no more.
        over: Set when the watcher is to look no more.
    """

    url: str
    pool: Pool
    history: History
    kinds: list[str]
    results: list[str]
    jobs: dict[str, Known] = field(default_factory=dict)
    unsure: dict[str, Work] = field(default_factory=dict)
    without_key: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def unfinished(self) -> list[str]:
        """Ids of the jobs that have not been seen to end."""
        return [job for job, known in list(self.jobs.items()) if not known.has_ended]


class Caller:
    """Sends jobs, again and again where the answer is lost, until it is told to stop; in a thread of its own."""

    def __init__(self, scene: Scene, seed: int, number: int) -> None:
        self._scene = scene
        self._rng = np.random.default_rng([seed, number])
        self._name = f"{seed}-{number}"
        self._client = httpx.Client(base_url=scene.url, timeout=TIMEOUT_S)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def run(self) -> None:
        """Send until told to stop."""
        sent = 0
        while not self._scene.stop.is_set():
            if len(self._scene.unfinished) >= MOST_UNFINISHED:
                time.sleep(LOOK_S)
                continue
            sent += 1
            work = draw(self._rng, f"{self._name}-{sent}", self._scene.kinds)
            if self._rng.random() < 0.15:
                self._send(work, "")
            elif job := self.insist(work, work.name, self._scene.stop.is_set):
                self._go_on(work, job)

    def insist(self, work: Work, key: str, give_up: Callable[[], bool]) -> str | None:
        """Send a job under a key until it is accepted; its id."""
        body = work.body(self._scene.pool)
        while True:
            if job := self._send(work, key, body):
                self._scene.unsure.pop(key, None)
                return job
            if give_up():
                return None
            time.sleep(float(self._rng.uniform(0.05, 0.3)))

    def _go_on(self, work: Work, job: str) -> None:
        """Send some jobs again, cancel some, mark some to be deleted."""
        if self._rng.random() < 0.3:
            self.insist(work, work.name, self._scene.stop.is_set)
        if self._rng.random() < 0.12:
            time.sleep(float(self._rng.uniform(0, 0.5)))
            self._cancel(job)
        elif self._rng.random() < 0.12 and work.name not in self._scene.unsure:  # whose key makes no other job later
            self._scene.jobs[job].to_delete = True

    def _send(self, work: Work, key: str, body: bytes | None = None) -> str | None:
        scene, body = self._scene, body or work.body(self._scene.pool)
        headers = {"Content-Type": work.media_type} | ({"Idempotency-Key": key} if key else {})
        name = work.name
        try:
            answer = self._client.post("/v1/jobs", content=body, headers=headers)
        except httpx.HTTPError as error:
            scene.history.note("no answer", name, why=type(error).__name__)
            return self._lost(work, key)
        if answer.status_code != 202:
            scene.history.note("refused", name, status=answer.status_code, said=answer.text[:300])
            # Where the ledger's answer was lost the job may stand; so may one of which only that is known.
            return self._lost(work, key) if answer.status_code in REFUSALS else None
        job: str = answer.json()["id"]
        scene.jobs.setdefault(job, Known(work))
        scene.history.note("accepted", name, job=job, rows=work.rows, bad=len(work.bad), kind=work.kind)
        return job

    def _lost(self, work: Work, key: str) -> None:
        if key:
            self._scene.unsure[key] = work
        else:
            self._scene.without_key += 1

    def _cancel(self, job: str) -> None:
        """Ask until it is answered; from the first time on the job may be cancelled."""
        self._scene.history.note("cancel asked", job)
        while not self._scene.over.is_set():
            with suppress(httpx.HTTPError):
                answer = self._client.post(f"/v1/jobs/{job}/cancel")
                if answer.is_success:
                    self._scene.history.note("cancel answered", job, status=answer.json()["status"])
                    return
                if answer.status_code not in REFUSALS:
                    self._scene.history.note("refused", job, status=answer.status_code, said=answer.text[:300])
                    return
            time.sleep(LOOK_S)


class Watcher:
    """Looks at jobs, notes what has changed, reads results while parts are killed; in a thread of its own."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self._scene = scene
        self._rng = np.random.default_rng([seed, 999])
        self._client = httpx.Client(base_url=scene.url, timeout=TIMEOUT_S)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def run(self) -> None:
        """Look until told that it is over."""
        while not self._scene.over.wait(LOOK_S):
            for job in self._scene.unfinished:
                self.look(job)
            self._look_back()

    def look(self, job: str) -> None:
        """See how a job stands, and note it if that is new."""
        answer = self._ask("GET", f"/v1/jobs/{job}", job)
        if answer is None:
            return
        known = self._scene.jobs[job]
        if answer.status_code == 404:
            known.is_deleted = known.is_deleting
            if not known.is_deleted:
                self._scene.history.note("gone", job)
            return
        told = answer.json()
        seen = {"status": told["status"], "reason": told["reason"]}
        seen |= {name: told["counts"][name] for name in ("completed", "failed")}
        if known.last != seen:
            known.last = seen
            self._scene.history.note("seen", job, **seen)

    def read(self, job: str) -> bool:
        """Compare a job's results with what they must be, once they can be had whole."""
        known, kind = self._scene.jobs[job], str(self._rng.choice(self._scene.results))
        results = self._ask("GET", f"/v1/jobs/{job}/results?format={kind}", job)
        errors = self._ask("GET", f"/v1/jobs/{job}/errors?format=ndjson", job)
        if results is None or errors is None:
            return False
        if known.last and known.last["status"] == "completed":
            wrong = known.work.wrong(self._scene.pool, results.content, kind, errors.content)
            self._scene.history.note("read", job, kind=kind, wrong=wrong)
        known.is_read = True
        return True

    def _look_back(self) -> None:
        """Look again at one that has ended, read it, delete it where that is wanted."""
        ended = [job for job, known in list(self._scene.jobs.items()) if known.has_ended and not known.is_deleted]
        if not ended:
            return
        job = str(self._rng.choice(ended))
        self.look(job)
        known = self._scene.jobs[job]
        if not known.is_read:
            self.read(job)
        if known.is_read and known.to_delete:
            self._delete(job, known)

    def _delete(self, job: str, known: Known) -> None:
        known.is_deleting = True
        answer = self._ask("DELETE", f"/v1/jobs/{job}", job)
        if answer is None:
            return
        known.is_deleted = True
        self._scene.history.note("deleted", job, status=answer.status_code)

    def _ask(self, method: str, path: str, job: str) -> httpx.Response | None:
        """An answer that says something; nothing where there was none, or none for now."""
        try:
            answer = self._client.request(method, path)
        except httpx.HTTPError:
            return None
        if answer.is_success or answer.status_code == 404:
            return answer
        if answer.status_code not in REFUSALS:
            self._scene.history.note("refused", job, status=answer.status_code, said=f"{path}: {answer.text[:300]}")
        return None
