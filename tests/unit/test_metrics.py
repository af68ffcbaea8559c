"""What is counted comes out, under sound names."""

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import Metric, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from models.errors import ModelError
from models.repository import Repository
from service.metrics import DEFINITIONS, REQUEST_SECONDS, Metrics
from service.scrape import LOOKED_UP
from service.stages import Stages
from service.tallies import MOST_CHILDREN, Definition

ROUTE = "/v1/jobs/{job_id}"


@pytest.fixture
def metrics(tmp_path: Path) -> Metrics:
    return Metrics(tmp_path)


def families(metrics: Metrics) -> dict[str, Metric]:
    return {each.name: each for each in parse(generate_latest(metrics).decode())}


def values(metrics: Metrics, sample: str) -> dict[tuple[str, ...], float]:
    """Values of a sample by its labels' values, in the order of the labels' names."""
    found = (each for family in families(metrics).values() for each in family.samples if each.name == sample)
    return {tuple(each.labels[name] for name in sorted(each.labels)): each.value for each in found}


def fill(metrics: Metrics, models: Repository) -> None:
    """Something in every metric that is counted."""
    stages = Stages()
    stages.lap("decode")
    metrics.began()
    metrics.request(ROUTE, "GET", 200, 0.25, stages)
    metrics.rejected("body-too-large")
    metrics.run("lstm", 1, rows=32, cells=3200, real_days=2880, seconds=0.002)
    models.get("lstm")
    refusing = Repository(models.root)
    refusing.refusals["gru"] += 1
    metrics.models(refusing)
    metrics.models(models, {"gru": "damaged"})


def test_a_request_counts_once_with_its_time_and_its_stages(metrics: Metrics) -> None:
    stages = Stages()
    stages.lap("decode")
    stages.lap("run")

    metrics.request(ROUTE, "GET", 200, 0.25, stages)
    metrics.request(ROUTE, "GET", 404, 0.0002)

    assert values(metrics, "nextday_requests_total") == {("GET", ROUTE, "200"): 1, ("GET", ROUTE, "404"): 1}
    assert values(metrics, "nextday_request_seconds_count") == {(ROUTE,): 2}
    assert values(metrics, "nextday_request_seconds_sum") == {(ROUTE,): pytest.approx(0.2502)}
    assert values(metrics, "nextday_stage_seconds_count") == {("decode",): 1, ("run",): 1}


@pytest.mark.parametrize(("seconds", "below", "reaches"), [(0.0003, None, "0.0003"), (0.00031, "0.0003", "0.0005")])
def test_a_time_falls_into_the_bucket_whose_bound_it_does_not_pass(
    metrics: Metrics, seconds: float, below: str | None, reaches: str
) -> None:
    metrics.request(ROUTE, "GET", 200, seconds)

    buckets = values(metrics, "nextday_request_seconds_bucket")
    assert buckets[reaches, ROUTE] == 1
    assert below is None or buckets[below, ROUTE] == 0


def test_a_time_beyond_the_last_bound_is_counted(metrics: Metrics) -> None:
    metrics.request(ROUTE, "GET", 200, 60.0)

    buckets = values(metrics, "nextday_request_seconds_bucket")
    assert (buckets["2.5", ROUTE], buckets["+Inf", ROUTE]) == (0, 1)


def test_a_run_counts_its_rows_its_padding_and_its_time(metrics: Metrics) -> None:
    metrics.run("lstm", 3, rows=32, cells=1000, real_days=900, seconds=0.002)
    metrics.run("rnn", 1, rows=1, cells=60, real_days=60, seconds=0.001)

    assert values(metrics, "nextday_rows_total") == {("lstm", "3"): 32, ("rnn", "1"): 1}
    assert values(metrics, "nextday_batch_rows_sum") == {(): 33}
    assert values(metrics, "nextday_pad_ratio_sum") == {(): pytest.approx(0.1)}
    assert values(metrics, "nextday_pad_ratio_bucket")[("0.0",)] == 1
    assert values(metrics, "nextday_run_seconds_sum") == {("lstm",): 0.002, ("rnn",): 0.001}


def test_requests_in_flight_go_up_and_down(metrics: Metrics) -> None:
    metrics.began()
    metrics.began()
    metrics.ended()

    assert values(metrics, "nextday_requests_in_flight") == {(): 1}


def test_a_model_is_named_with_what_it_runs_on_and_a_refused_one_is_not_ready(
    metrics: Metrics, models: Repository
) -> None:
    serving = models.get("lstm")

    metrics.models(models, {"gru": "damaged"})
    metrics.models(models, {"gru": "damaged"})

    info = [each.labels for each in families(metrics)["nextday_model_info"].samples]
    assert {
        "model": "lstm",
        "version": str(serving.card.version),
        "digest": serving.card.digest,
        "provider": serving.provider,
    } in info
    ready = values(metrics, "nextday_model_ready")
    assert (ready[("lstm",)], ready[("gru",)]) == (1, 0)


def test_a_version_that_was_refused_counts_once_however_often_it_is_told(metrics: Metrics, tmp_path: Path) -> None:
    (tmp_path / "gru" / "1").mkdir(parents=True)
    (tmp_path / "gru" / "1" / "card.json").write_text("{")
    models = Repository(tmp_path)
    with pytest.raises(ModelError):
        models.prepare("gru", 1)

    for _ in range(3):
        metrics.models(models, models.load_newest())

    assert models.refusals == {"gru": 1}
    assert values(metrics, "nextday_model_refusals_total") == {("gru",): 1}
    assert values(metrics, "nextday_model_ready") == {("gru",): 0}


def test_what_no_longer_serves_is_no_longer_named(metrics: Metrics, models: Repository) -> None:
    models.get("lstm")
    metrics.models(models)

    metrics.models(Repository(models.root))

    assert values(metrics, "nextday_model_info") == {}


def test_threads_that_count_at_once_lose_nothing(metrics: Metrics, often: None) -> None:
    barrier = threading.Barrier(4)

    def count() -> None:
        barrier.wait()
        for number in range(2000):
            metrics.request(f"/route/{number % 50}", "POST", 200, 0.001)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    routes = [f"/route/{number}" for number in range(50)]
    assert values(metrics, "nextday_requests_total") == {("POST", route, "200"): 160 for route in routes}
    assert values(metrics, "nextday_request_seconds_count") == {(route,): 160 for route in routes}


@pytest.mark.parametrize(
    "count",
    [
        lambda metrics: metrics.request(ROUTE, "GET", 200, 0.001),
        lambda metrics: metrics.rejected("not-found"),
        lambda metrics: metrics.run("lstm", 1, 1, 60, 60, 0.001),
        lambda metrics: metrics.models(Repository(Path()), {"lstm": "damaged"}),
        Metrics.began,
        Metrics.ended,
    ],
    ids=["request", "rejected", "run", "models", "began", "ended"],
)
def test_one_thread_counts_at_a_time(metrics: Metrics, count: Callable[[Metrics], None]) -> None:
    other = threading.Thread(target=count, args=(metrics,))
    with metrics._tallies.lock:
        other.start()

        other.join(0.05)

        assert other.is_alive()
    other.join()


@pytest.fixture
def often() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before_s)


def test_no_caller_makes_labels_without_end(metrics: Metrics) -> None:
    for number in range(MOST_CHILDREN + 10):
        metrics.request(ROUTE, f"BREW{number}", 418, 0.001)
        metrics.rejected(f"slug-{number}")

    assert values(metrics, "nextday_requests_total") == {("other", ROUTE, "418"): MOST_CHILDREN + 10}
    reasons = values(metrics, "nextday_rejections_total")
    assert len(reasons) == MOST_CHILDREN + 1
    assert reasons[("other",)] == 10


def test_a_file_that_outgrows_its_first_size_keeps_its_numbers(metrics: Metrics) -> None:
    for number in range(100):
        metrics.request(f"/route/{number}", "GET", 200, 0.001)
        metrics.request("/route/0", "GET", 200, 0.001)

    counts = values(metrics, "nextday_request_seconds_count")
    assert counts[("/route/0",)] == 101
    assert sum(counts.values()) == 200


def test_apps_of_one_process_count_each_for_itself(metrics: Metrics) -> None:
    other = Metrics()

    metrics.rejected("not-found")

    assert values(metrics, "nextday_rejections_total") == {("not-found",): 1}
    assert values(other, "nextday_rejections_total") == {}


def test_a_folder_of_its_own_goes_with_it() -> None:
    metrics = Metrics()
    folder = metrics._tallies.folder
    assert list(folder.iterdir())

    del metrics
    gc.collect()

    assert not folder.exists()


def test_a_process_goes_on_where_one_of_its_number_has_counted(tmp_path: Path) -> None:
    earlier = Metrics(tmp_path)
    earlier.rejected("not-found")
    earlier.began()
    del earlier
    gc.collect()

    later = Metrics(tmp_path)
    later.rejected("not-found")

    assert values(later, "nextday_rejections_total") == {("not-found",): 2}
    assert values(later, "nextday_requests_in_flight") == {(): 0}


def test_names_help_and_types_are_as_defined(metrics: Metrics, models: Repository) -> None:
    fill(metrics, models)

    shown = families(metrics)

    assert set(shown) == {each.name.removesuffix("_total") for each in DEFINITIONS}
    for each in DEFINITIONS:
        family = shown[each.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (each.kind, each.help)
        assert all(set(sample.labels) - {"le"} == set(each.labels) for sample in family.samples)


def test_openmetrics_tells_the_units(metrics: Metrics, models: Repository) -> None:
    fill(metrics, models)

    shown = {each.name: each for each in parse_openmetrics(openmetrics.generate_latest(metrics).decode())}

    assert set(shown) == {each.name.removesuffix("_total") for each in DEFINITIONS}
    for name, family in shown.items():
        assert family.unit == next((unit for unit in ("seconds", "rows", "ratio") if name.endswith(f"_{unit}")), "")


def sound(name: str, kind: str) -> bool:
    """Prometheus' rules: one prefix, base units, `_total` on what only grows and on nothing else."""
    words = name.split("_")
    return words[0] == "nextday" and (words[-1] == "total") == (kind == "counter") and "ms" not in words


@pytest.mark.parametrize("definition", [*DEFINITIONS, *LOOKED_UP], ids=lambda each: each.name)
def test_a_name_follows_prometheus_rules(definition: Definition) -> None:
    assert sound(definition.name, definition.kind)
    assert definition.help.endswith(".")
    assert list(definition.buckets) == sorted(set(definition.buckets))
    assert bool(definition.buckets) == (definition.kind == "histogram")


def test_buckets_reach_from_the_fastest_answer_to_the_slowest() -> None:
    assert REQUEST_SECONDS.buckets[0] <= 0.0003
    assert REQUEST_SECONDS.buckets[-1] >= 1
