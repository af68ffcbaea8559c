"""What a schedule's input names: a file, or all files under a folder or prefix."""

from urllib.parse import quote

from pyarrow import fs

from worker.errors import ReferenceRefused, ScheduleError
from worker.references import store_of

MOST_FILES = 1000


def files_of(uri: str, prefixes: str) -> list[str]:
    """
    The URIs of the files that a URI names: its own, or where its path ends in ``/``, those of all files under it.

    Names that begin with ``.`` or ``_``, or lie in such a folder, are left out: they are what others write beside data.

    Args:
        uri: ``file:`` or ``s3:``.
        prefixes: What may be read, as in `NEXTDAY_INPUT_PREFIXES`.

    Raises:
        ScheduleError: It may not be read, or there are too many files.
        OSError: The folder is not there, or cannot be listed.
    """
    try:
        system, folder = store_of(uri, prefixes)
    except ReferenceRefused as error:
        raise ScheduleError(where="input", reason=str(error)) from error
    if not uri.endswith("/"):
        return [uri]
    found = system.get_file_info(fs.FileSelector(folder, recursive=True))
    inside = len(folder.rstrip("/")) + 1
    names = [each.path[inside:] for each in found if each.type == fs.FileType.File]
    shown = sorted(name for name in names if not any(part[:1] in "._" for part in name.split("/")))
    if len(shown) > MOST_FILES:
        raise ScheduleError(
            where="input", reason=f"there are {len(shown)} files under it; at most {MOST_FILES} are taken"
        )
    return [uri + quote(name) for name in shown]
