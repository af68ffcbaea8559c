"""CSV that no honest program writes, and ids that a spreadsheet would run: D21."""

import csv
from collections.abc import Iterator

import pytest

from tests.faults.jobs_calls import assert_right, walks
from tests.faults.jobs_installation import Installation, installation
from tests.faults.wire import probe_s

CSV = "text/csv"
MIB = 1024 * 1024
MONSTERS = {
    "a field without end": b"id,closes\na," + b"1" * (64 * MIB),
    "a quote that is never closed": b'id,closes\n"a,' + b"1 2 3\n" * 4_000_000,
    "a million columns": b",".join([b"id", *[b"c"] * 1_000_000]) + b"\n" + b"1," * 1_000_000 + b"1\n",
    "a million different columns": b",".join(b"c%d" % column for column in range(1_000_000)) + b"\n",
    "a header without end": b"i" * (64 * MIB),
    "zero bytes": b"\0" * MIB,
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 1000,
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("csv")) as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("monster", MONSTERS)
def test_a_monster_is_refused_or_is_rows_with_errors(running: Installation, monster: str) -> None:
    answer = running.caller.post(MONSTERS[monster], CSV)

    assert answer.status_code in (413, 422), answer.text
    assert len(answer.content) < 10_000
    assert probe_s(running.services[0].url) < 5
    assert not running.jobs_folder.exists() or list(running.jobs_folder.iterdir()) == []


@pytest.mark.slow
def test_no_id_is_a_formula_in_the_results(running: Installation) -> None:
    ids = ["=1+1", "+1", "-1", "@SUM(A1)", '=cmd|"/c calc"!A1', "plain"]
    rows = walks(len(ids))
    quoted = ['"' + name.replace('"', '""') + '"' for name in ids]
    lines = [f"{name},{' '.join(map(str, own))}" for name, own in zip(quoted, rows, strict=True)]
    answer = running.caller.post("\n".join(["id,closes", *lines, '"=bad",1 -1', ""]).encode(), CSV)
    assert answer.status_code == 202, answer.text
    worker = running.work()
    job = running.caller.wait(answer.json()["id"])

    asked = [running.caller.ask("GET", f"/v1/jobs/{job['id']}/{kind}", Accept=CSV) for kind in ("results", "errors")]

    for text in (answer.text for answer in asked):
        cells = [cell for line in list(csv.reader(text.splitlines()))[1:] for cell in line[:2]]
        assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t"))] == []
    assert [line["id"] for line in running.caller.lines(job["id"])] == ids
    named = [line | {"id": f"series-{row}"} for row, line in enumerate(running.caller.lines(job["id"]))]
    assert_right(named, dict(enumerate(rows)))
    assert worker.stop() == 0
