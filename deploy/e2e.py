"""
docker-compose.yml proved by running it, from nothing to nothing: `make e2e`.

Ends with 1 at the first step that does not come to pass, with 2 where there is no engine. DOCKER_COMPOSE and DOCKER
name other commands than `docker compose` and `docker`; NEXTDAY_PORT another port than 8000.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deploy.composed import (
    COMPOSE,
    PORT,
    ROOT,
    SERIES,
    URL,
    Failed,
    ask,
    compose,
    containers,
    docker,
    eventually,
    load,
    run,
)

ROWS = 50_000
IMAGE_MB = 400
PROMETHEUS_PORT = int(os.environ.get("NEXTDAY_PROMETHEUS_PORT", "9090"))
FILES = ("docker-compose.yml", "docker-compose.gpu.yml", "docker-compose.s3.yml")
KILL_ALL = "import os; os.kill(-1, 9)"
"""All that its user may kill in a container: then its first process ends too, and Docker starts it again."""

COPY = """
import json, pathlib, shutil
new = pathlib.Path("/store/lstm/.new")
shutil.copytree("/store/lstm/{shipped}", new)
card = json.loads((new / "card.json").read_text())
(new / "card.json").write_text(json.dumps(card | {{"version": {newer}}}))
new.rename("/store/lstm/{newer}")
"""

_began = time.monotonic()


def say(text: str) -> None:
    """A line with the seconds since the start."""
    print(f"[{time.monotonic() - _began:4.0f}s] {text}", flush=True)


def main() -> int:
    """Run every step; the exit code."""
    try:
        compose("version")
        compose("ps")
    except (Failed, FileNotFoundError):
        print(
            f"no Docker engine answers to `{' '.join(COMPOSE)}`: install Docker with Compose 2.26 or newer "
            "(https://docs.docker.com/engine/install/), or name another command in DOCKER_COMPOSE",
            file=sys.stderr,
        )
        return 2
    with tempfile.TemporaryDirectory() as folder:
        try:
            everything(Path(folder))
        except Failed as error:
            say(f"FAILED: {error}")
            for service in ("nginx", "service", "worker", "redis"):
                print(f"--- {service}\n{compose('logs', '--tail', '15', '--no-color', service, check=False)}")
            return 1
        finally:
            compose("--profile", "monitoring", "down", "--volumes", "--timeout", "60", check=False)
    return 0


def everything(folder: Path) -> None:
    """The steps, in order."""
    the_files_are_sound()
    key = build_and_start()
    nothing_is_open_that_should_not_be()
    forecasts_are_answered(key)
    a_triton_client_is_answered(key)
    rows = folder / "rows.parquet"
    write_rows(rows)
    before = a_job(key, rows, folder / "before.parquet")
    with load(key) as running:
        a_job_survives_kills(key, rows, folder / "after.parquet", before)
    say(f"of {running.outcomes.total()} forecasts meanwhile none failed")
    replicas(key)
    a_model_is_swapped(key)
    monitoring(key)
    go_down()


def the_files_are_sound() -> None:
    """`docker compose config` of each file."""
    for extra in FILES:
        chosen = [part for name in dict.fromkeys((FILES[0], extra)) for part in ("-f", name)]
        compose(*chosen, "--profile", "monitoring", "config", "--quiet", NEXTDAY_JOBS_URL="s3://bucket/jobs")
    say(f"{', '.join(FILES)} are sound")


def build_and_start() -> str:
    """Build, be refused without a key, make one, start; the key."""
    compose("build")
    (size,) = docker("image", "inspect", "--format", "{{.Size}}", "nextday:local").split()
    if int(size) > IMAGE_MB * 1e6:
        raise Failed(f"the image has {int(size) / 1e6:.0f} MB, more than {IMAGE_MB}")
    say(f"built: {int(size) / 1e6:.0f} MB")
    said = subprocess.run(
        [*COMPOSE, "run", "--rm", "--no-deps", "-T", "service", "nextday", "serve"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if said.returncode == 0 or "nextday keys new" not in said.stdout + said.stderr:
        raise Failed(f"it starts without a key: {said.stdout}{said.stderr}")
    key = new_key("e2e", "forecast", "jobs", "admin")
    compose("up", "--detach", "--no-build")
    eventually("ready", lambda: ask("/readyz")[0] == 200)
    eventually("a worker", lambda: workers() == 1)
    eventually("all are healthy", lambda: all(healthy(each) for each in containers()))
    say("a key, up and ready")
    return key


def new_key(name: str, *scopes: str) -> str:
    """A new API key."""
    wanted = [part for scope in scopes for part in ("--scope", scope)]
    said = compose("run", "--rm", "--no-deps", "-T", "service", "nextday", "keys", "new", name, *wanted)
    return said.splitlines()[-1]


def workers() -> int:
    """How many workers gave a sign of life lately."""
    count = json.loads(ask("/readyz")[1])["queue"].get("workers", 0)
    return int(count)


def healthy(container: dict[str, object]) -> bool:
    """Whether a container's own check says so."""
    return container["State"]["Health"]["Status"] == "healthy"  # type: ignore[index]


def nothing_is_open_that_should_not_be() -> None:
    """Strangers, Redis' port, and what the containers may."""
    if (status := ask("/v1/jobs")[0]) != 401:
        raise Failed(f"a stranger is answered with {status}")
    if (status := ask("/metrics")[0]) != 404:
        raise Failed(f"a stranger gets {status} for /metrics")
    for port in (6379, 8000 if PORT != 8000 else 8080):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise Failed(f"port {port} can be reached from the host")
    for container in containers():
        name, host, config = container["Name"], container["HostConfig"], container["Config"]
        faults = {
            "runs as root": config["User"] in ("", "0", "root"),  # type: ignore[index]
            "has capabilities": host["CapDrop"] != ["ALL"] or host["CapAdd"],  # type: ignore[index]
            "can write its root": not host["ReadonlyRootfs"],  # type: ignore[index]
            "may gain privileges": "no-new-privileges:true" not in (host["SecurityOpt"] or ()),  # type: ignore[index]
            "has no memory limit": not host["Memory"],  # type: ignore[index]
            "has no limit of processes": not host["PidsLimit"],  # type: ignore[index]
            "has logs without bounds": "max-size" not in host["LogConfig"]["Config"],  # type: ignore[index]
        }
        if found := [fault for fault, there in faults.items() if there]:
            raise Failed(f"{name} {', '.join(found)}")
    say(f"{len(containers())} containers: no root, no capability, no file system to write to; Redis cannot be reached")


def forecasts_are_answered(key: str) -> None:
    """One, by hand."""
    status, content = ask("/v1/forecasts", SERIES, key=key)
    if status != 200 or b'"quantiles"' not in content:
        raise Failed(f"no forecast: {status} {content!r}")
    say("two closes give tomorrow")


def a_triton_client_is_answered(key: str) -> None:
    """The protocol's own client, with binary tensors, through nginx."""
    import tritonclient.http as triton  # noqa: PLC0415 - a package of the tests

    client = triton.InferenceServerClient(f"127.0.0.1:{PORT}")
    closes, lengths = triton.InferInput("closes", [2, 3], "FP32"), triton.InferInput("lengths", [2], "INT64")
    closes.set_data_from_numpy(np.float32([[100, 101, 102], [10, 11, 0]]))
    lengths.set_data_from_numpy(np.int64([3, 2]))
    found = client.infer("lstm", [closes, lengths], headers={"Authorization": f"Bearer {key}"}).as_numpy("quantiles")
    if found is None or found.shape != (2, 9) or not np.isfinite(found).all():
        raise Failed(f"tritonclient got {found}")
    say("tritonclient is answered")


def write_rows(path: Path) -> None:
    """Series for a job."""
    steps = np.random.default_rng(1).standard_t(4, (ROWS, 60)) * 0.01
    closes = np.round(100 * np.exp(np.cumsum(steps, axis=1)), 2)
    lists = pa.FixedSizeListArray.from_arrays(closes.ravel(), 60)
    ids = [f"s{row}" for row in range(ROWS)]
    pq.write_table(pa.table({"id": ids, "closes": lists.cast(pa.list_(pa.float64()))}), path)


def score(key: str, rows: Path, out: Path) -> subprocess.Popen[str]:
    """A file through a job, as people do it."""
    command = [str(Path(sys.executable).parent / "nextday"), "score", str(rows), "-o", str(out), "--url", URL]
    return subprocess.Popen(command, env={**os.environ, "NEXTDAY_API_KEY": key}, stderr=subprocess.PIPE, text=True)


def wait_for(scoring: subprocess.Popen[str]) -> None:
    """Until it has ended well."""
    said = scoring.communicate(timeout=300)[1]
    if scoring.returncode:
        raise Failed(f"`nextday score` ended with {scoring.returncode}: {said[-2000:]}")


def a_job(key: str, rows: Path, out: Path) -> pa.Table:
    """A job's results, and how long they took."""
    began = time.monotonic()
    wait_for(score(key, rows, out))
    found = pq.read_table(out)
    if found["id"].to_pylist() != [f"s{row}" for row in range(ROWS)]:
        raise Failed(f"the results have {len(found)} rows, or others than were sent")
    say(f"a job of {ROWS} rows in {time.monotonic() - began:.1f} s, from file to file")
    return found


def a_job_survives_kills(key: str, rows: Path, out: Path, before: pa.Table) -> None:
    """The same rows under other ids, while a worker, the service and Redis are killed and Redis is started anew."""
    table = pq.read_table(rows)
    again = rows.with_name("again.parquet")
    ids = pa.array([f"again-{name}" for name in table["id"].to_pylist()])
    pq.write_table(table.set_column(0, "id", ids), again)
    compose("up", "--detach", "--no-build", "--no-recreate", "--scale", "service=2", "--scale", "worker=2")
    eventually("two workers", lambda: workers() == 2)
    eventually("all are healthy", lambda: all(healthy(each) for each in containers("service")))
    scoring = score(key, again, out)
    time.sleep(1)
    for service in ("worker", "service"):
        compose("exec", "-T", "--index", "1", service, "python", "-c", KILL_ALL, check=False)
        say(f"kill -9 of a {service}")
        time.sleep(2)
    compose("exec", "-T", "redis", "sh", "-c", "kill -9 $(cat /proc/1/task/1/children)", check=False)
    say("kill -9 of Redis")
    time.sleep(2)
    compose("restart", "redis")
    say("Redis started anew")
    wait_for(scoring)
    found = pq.read_table(out)
    if found["id"].to_pylist() != ids.to_pylist() or not found.drop_columns("id").equals(before.drop_columns("id")):
        raise Failed("the rows differ")
    say("the same answers, each once")


def replicas(key: str) -> None:
    """New containers in the old ones' place, one after the other, under load."""
    with load(key) as running:
        time.sleep(2)
        run("bash", "deploy/roll.sh", "service")
        time.sleep(1)
    say(f"two replicas replaced: of {running.outcomes.total()} requests none failed")
    run("bash", "deploy/roll.sh", "worker")
    eventually("two workers", lambda: workers() == 2)
    say("two workers replaced")


def a_model_is_swapped(key: str) -> None:
    """A new version in the volume is taken into service, and the old one called back, under load."""
    shipped = json.loads(ask("/v1/models/lstm", key=key)[1])["version"]
    newer = shipped + 1
    copy = COPY.format(shipped=shipped, newer=newer)
    with load(key) as running:
        time.sleep(1)
        compose("exec", "-T", "--index", replica_indices("service")[0], "service", "python", "-c", copy)
        eventually("the new version serves", lambda: f"lstm:{newer}" in running.models)
        time.sleep(1)
        command = ["exec", "-T", "--index", replica_indices("service")[0], "-e", f"NEXTDAY_API_KEY={key}", "service"]
        compose(*command, "nextday", "activate", f"lstm:{shipped}")  # which all replicas follow
        eventually("the old version is back", lambda: serving_version(key) == shipped)
        time.sleep(1)
    say(
        f"version {newer} taken into service, {shipped} called back: of {running.outcomes.total()} requests none failed"
    )


def replica_indices(service: str) -> list[str]:
    """The numbers by which compose tells a service's containers apart."""
    return [str(each["Config"]["Labels"]["com.docker.compose.container-number"]) for each in containers(service)]  # type: ignore[index]


def serving_version(key: str) -> int:
    """The version that answers."""
    version = json.loads(ask("/v1/forecasts", SERIES, key=key)[1])["model"]["version"]
    return int(version)


def monitoring(key: str) -> None:
    """Every target is up, every rule loads, every query of the dashboard finds something."""
    compose("--profile", "monitoring", "up", "--detach", "--no-build", "--no-deps", "prometheus")
    eventually("Prometheus", lambda: ask("/-/ready", port=PROMETHEUS_PORT)[0] == 200)
    checked = compose("exec", "-T", "prometheus", "promtool", "check", "rules", "/etc/prometheus/nextday/alerts.yml")
    (rules,) = re.findall(r"(\d+) rules found", checked)
    with load(key, per_s=50, callers=4):
        ask("/v1/forecasts", {"series": []}, key=key)
        eventually("targets are up", targets_are_up)
        expressions = dashboard()
        eventually("each query finds something", lambda: all_have_data(expressions), 90)
    say(f"Prometheus: targets up, {rules} rules, {len(expressions)} queries of the dashboard with data")


def targets_are_up() -> bool:
    """Whether Prometheus has both replicas and itself, all up."""
    found = json.loads(ask("/api/v1/targets?state=active", port=PROMETHEUS_PORT)[1])["data"]["activeTargets"]
    return len(found) == 3 and all(each["health"] == "up" for each in found)


def dashboard() -> list[str]:
    """The queries of Grafana's dashboard."""
    panels = json.loads((ROOT / "deploy/grafana/dashboards/nextday.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def without_data(expressions: list[str]) -> list[str]:
    """The queries that find nothing; Failed where one cannot be asked."""
    nothing = []
    for expression in expressions:
        status, content = ask(f"/api/v1/query?query={quote(expression)}", port=PROMETHEUS_PORT)
        if status != 200:
            raise Failed(f"{expression}: {content!r}")
        if not json.loads(content)["data"]["result"]:
            nothing.append(expression)
    return nothing


def all_have_data(expressions: list[str]) -> bool:
    """True; Failed, with those that have none, where some do not."""
    if nothing := without_data(expressions):
        raise Failed(f"no data for {nothing}")
    return True


def go_down() -> None:
    """Down, with the volumes; nothing is left."""
    compose("--profile", "monitoring", "down", "--volumes", "--timeout", "60")
    left: dict[str, Callable[[], str]] = {
        "containers": lambda: compose("ps", "--all", "--quiet"),
        "volumes": lambda: docker("volume", "ls", "--quiet", "--filter", "label=com.docker.compose.project=nextday"),
        "networks": lambda: docker("network", "ls", "--quiet", "--filter", "label=com.docker.compose.project=nextday"),
    }
    for kind, found in left.items():
        if found():
            raise Failed(f"{kind} were left behind: {found()}")
    say("down, nothing left behind")


if __name__ == "__main__":
    sys.exit(main())
