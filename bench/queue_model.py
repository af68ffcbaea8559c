"""
A queue of chunks as a closed network: workers that score, and one Redis that they all ask.

A worker claims a chunk, scores it, counts it, and claims the next; Redis runs one script at a time. Everything else
that a job needs, messages and sweeps, is bounded and left out.
"""

import heapq
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Queue:
    """
    What an installation is like.

    Attributes:
        workers: Threads that score, on all machines.
        work_s: Seconds that a chunk is scored and stored.
        redis_s: Seconds of Redis' one thread for a chunk: claim, signs of life and count.
        caller_s: Seconds of a worker's own for a chunk beside these: round trips and what Python does.
    """

    workers: int
    work_s: float
    redis_s: float
    caller_s: float


def simulated(queue: Queue, *, chunks: int = 20_000) -> float:
    """Chunks a second, by letting so many go through the queue one event after the other."""
    # Half of what Redis does for a chunk is the claim, half the count. Both wait in one line, first come, first served.
    step_s = queue.redis_s / 2
    free_at = now = 0.0
    # When somebody next stands in line, who, and whether it is for a claim.
    events = [(queue.work_s * worker / queue.workers, worker, True) for worker in range(queue.workers)]
    heapq.heapify(events)
    done, warm = 0, min(chunks // 2, 4 * queue.workers)
    began = 0.0
    while done < chunks:
        now, worker, claims = heapq.heappop(events)
        free_at = max(free_at, now) + step_s
        if claims:
            heapq.heappush(events, (free_at + queue.work_s, worker, False))
            continue
        heapq.heappush(events, (free_at + queue.caller_s, worker, True))
        done += 1
        if done == warm:
            began = free_at
    return (chunks - warm) / (free_at - began)


def bound(queue: Queue) -> float:
    """Chunks a second that cannot be exceeded: workers without any wait, or Redis without any pause."""
    return min(queue.workers / (queue.work_s + queue.redis_s + queue.caller_s), 1 / queue.redis_s)
