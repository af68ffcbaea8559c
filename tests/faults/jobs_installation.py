"""An installation of one's own: a queue on disk, a service and workers, each a program that a drill may hurt."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.jobs_calls import Caller
from tests.faults.jobs_programs import Program, Queue, Service, Worker, environment

SHORT = {"lease_s": 2.0, "sweep_s": 0.2, "resend_s": 1.0}
"""Waits of a laptop's size, so that what is lost comes again within a drill."""


@dataclass
class Installation:
    """
    What runs.

    Attributes:
        folder: Where all of it lies.
        inside: Command before that of service and workers, which puts them where they are to stand.
        settings: Of service and workers.
    """

    folder: Path
    queue: Queue
    settings: dict[str, object]
    inside: Sequence[str] = ()
    workers: list[Worker] = field(default_factory=list)
    services: list[Service] = field(default_factory=list)

    @property
    def caller(self) -> Caller:
        return Caller(self.services[0].url)

    @property
    def jobs_folder(self) -> Path:
        return Path(str(self.settings["jobs_url"]))

    @property
    def in_hand(self) -> int:
        """Most chunks that a worker has claimed at once: each thread scores one while the one before is stored."""
        return 2 * int(str(self.settings["worker_threads"]))

    @property
    def runs_file(self) -> Path:
        """Where workers with the plant `runs` write."""
        return self.folder / "runs"

    def runs(self) -> list[list[str]]:
        """Runs of a model so far: process, time, rows, first close of each."""
        return [line.split() for line in self.runs_file.read_text().splitlines()] if self.runs_file.exists() else []

    def serve(self, plants: Mapping[str, object] | None = None, **settings: object) -> Service:
        """A service that is ready."""
        service = Service(self.folder, environment(plants or {}, **{**self.settings, **settings}), self.inside)
        self.services.append(service)
        service.start()
        service.wait_until_ready()
        return service

    def work(
        self,
        plants: Mapping[str, object] | None = None,
        *,
        inside: Sequence[str] | None = None,
        ready: bool = True,
        **settings: object,
    ) -> Worker:
        """A worker; unless told otherwise it is ready."""
        env = environment(plants or {}, **{**self.settings, **settings})
        log = self.folder / f"worker-{len(self.workers)}.log"
        worker = Worker(log, env, self.inside if inside is None else inside)
        self.workers.append(worker)
        worker.start()
        if ready:
            worker.wait_until_ready()
        return worker

    def chunks(self, job_id: str) -> int:
        """Into how many a job was cut."""
        with self.queue.client() as client:
            return int(str(client.hget(f"nextday:job:{job_id}", "chunks")))

    def end(self) -> None:
        programs: list[Program] = [*self.workers, *self.services, self.queue]
        for program in programs:
            program.kill()


@contextmanager
def installation(
    folder: Path,
    *,
    inside: Sequence[str] = (),
    queue_inside: Sequence[str] = (),
    queue_folder: Path | None = None,
    addresses: Sequence[str] = ("127.0.0.1",),
    **settings: object,
) -> Iterator[Installation]:
    """A queue and a service that are ready, and no worker yet; all is gone afterwards."""
    queue_folder = queue_folder or folder / "valkey"
    queue_folder.mkdir(exist_ok=True)
    queue = Queue(queue_folder, queue_inside, addresses)
    usual = {"redis_url": queue.url(addresses[-1]), "jobs_url": folder / "jobs", "device": "cpu", "worker_threads": 2}
    running = Installation(folder, queue, {**usual, "access_log": "off", **SHORT, **settings}, inside)
    try:
        queue.start()
        queue.wait_until_ready()
        running.serve()
        yield running
    finally:
        running.end()


@contextmanager
def tended(programs: Sequence[Program]) -> Iterator[Callable[[], int]]:
    """Programs that are started again whenever they end, as a container's restart policy does; how often they were."""
    over, restarts = threading.Event(), 0

    def tend() -> None:
        nonlocal restarts
        while not over.wait(0.05):
            for program in programs:
                if not program.is_alive:
                    restarts += 1
                    program.start()

    thread = threading.Thread(target=tend)
    thread.start()
    try:
        yield lambda: restarts
    finally:
        over.set()
        thread.join()
