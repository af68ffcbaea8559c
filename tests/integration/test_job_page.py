"""The commands of docs/jobs.md, run as they stand there against a real service and worker."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.integration.job_steps import eventually
from tests.integration.server_process import DEADLINE_S, serving, working

PAGE = (Path(__file__).parent.parent.parent / "docs" / "jobs.md").read_text()
TABLE = "id,date,close\nKO,2022-12-27,62.86\nKO,2022-12-28,63.24\n"


def blocks() -> dict[str, list[str]]:
    """Commands by the heading that they stand under."""
    section = PAGE.split("## By HTTP\n", 1)[1].split("\n## ", 1)[0]
    parts = section.split("\n### ")[1:]
    return {part.partition("\n")[0]: re.findall(r"^```sh\n(.*?)^```", part, re.MULTILINE | re.DOTALL) for part in parts}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("curl"), reason="the commands are curl's")
def test_the_commands_of_the_page_do_what_it_says(tmp_path: Path, valkey_url: str) -> None:
    (tmp_path / "prices.csv").write_text(TABLE)
    table = pa.table({"id": ["KO"], "closes": [[62.38, 62.86, 63.24]], "sector": ["drinks"]})
    (tmp_path / "in").mkdir()
    pq.write_table(table, tmp_path / "in" / "prices.parquet")
    where = {"NEXTDAY_REDIS_URL": valkey_url, "NEXTDAY_JOBS_URL": str(tmp_path / "jobs")}
    where |= {"NEXTDAY_INPUT_PREFIXES": f"file://{tmp_path}/in/", "NEXTDAY_DEVICE": "cpu"}
    with serving(tmp_path, **where) as server, working(tmp_path, **where):

        def run(text: str, job: str = "") -> tuple[list[int], str]:
            """The statuses of a block's commands, and all that they said."""
            text = text.replace("http://127.0.0.1:8000", server.url).replace("file:///data/in", f"file://{tmp_path}/in")
            text = text.replace("curl -s", 'curl -s -w "%{stderr}%{http_code}\\n"')
            env = {**os.environ, "JOB": job}
            done = subprocess.run(
                ["bash", "-c", text], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
            )
            return [int(status) for status in done.stderr.split()], done.stdout

        submitted = [run(text) for text in blocks()["Submit"]]
        assert [statuses for statuses, _ in submitted] == [[202]] * 3, submitted
        job_id = re.search(r'"id":"(\w+)"', submitted[-1][1])[1]
        path = f"{server.url}/v1/jobs/{job_id}"
        eventually(lambda: httpx.get(path, timeout=DEADLINE_S).json()["status"] == "completed")
        (results,) = (run(text, job_id) for text in blocks()["Results"])
        assert results == ([200, 200, 416], results[1])  # the last one has the whole already
        assert pq.read_table(tmp_path / "forecasts.parquet")["sector"].to_pylist() == ["drinks"]
        (looks,) = (run(text, job_id) for text in blocks()["Look, cancel, resume, delete"])
        assert looks[0] == [200, 200, 200, 409, 204], looks  # completed: there is nothing to resume
