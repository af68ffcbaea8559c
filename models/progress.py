"""What long commands show on stderr while they work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bar(console: Console, first: str) -> Iterator[Callable[[str, int, int], None]]:
    """
    One bar for one thing after another.

    Args:
        console: Where it is shown.
        first: What it says before anything is reported.

    Yields:
        A function to be told what is going on, and how many of how many parts of it are done.
    """
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(first, total=None)

        def report(what: str, done: int, of: int) -> None:
            bar.update(task, description=what, completed=done, total=of)

        yield report
