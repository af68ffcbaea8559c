"""Who takes part: how each server is installed, started and asked, in its best set-up for two cores."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench import questions
from bench.questions import Wire

RUNTIME = "onnxruntime==1.32.0"
VENVS: dict[str, tuple[str, ...]] = {
    "web": (
        RUNTIME,
        "fastapi==0.165.0",
        "flask==3.1.3",
        "granian==2.8.7",
        "httptools==0.9.0",
        "msgspec==0.22.0",
        "numpy==2.4.6",
        "orjson==3.13.0",
        "pydantic==2.14.3",
        "starlette==1.10.0",
        "uvicorn==0.54.0",
        "uvloop==0.23.0",
    ),
    # Its worker processes die under uvloop 0.23, which pip would take.
    "mlserver": (RUNTIME, "mlserver==1.7.1", "numpy==2.4.6", "orjson==3.13.0", "pydantic==2.14.3", "uvloop==0.21.0"),
    "litserve": (RUNTIME, "litserve==0.2.19", "fastapi==0.165.0", "httptools==0.9.0", "numpy==2.4.6", "uvloop==0.23.0"),
    "bentoml": (RUNTIME, "bentoml==1.4.39", "numpy==2.4.6"),
    "pytriton": (RUNTIME, "nvidia-pytriton==0.7.0", "numpy==1.26.4"),
    "ray": (RUNTIME, "ray[serve]==2.60.0", "numpy==2.4.6"),
}
"""Packages of each virtual environment; one for all would not do, since their pins conflict."""
TOLD = ("mlserver", "litserve", "bentoml", "nvidia-pytriton", "ray", "fastapi", "uvicorn", "flask", "granian", "uvloop")
"""Packages whose versions are told."""
PYTHON_OF = {"pytriton": "/usr/bin/python3.11"}
"""Interpreters other than this one: pytriton's stub is linked against Debian's own libpython."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """
    A server in one set-up.

    Attributes:
        name: Of the set-up.
        product: What it is a set-up of; a ratio is taken to the best set-up of a product.
        command: How it is started: ``{bin}`` has its environment's programs, ``{apps}`` is bench/peers.
        venv: Its environment; None is the project's own.
        one: How it takes one series a request.
        many: How it takes several series of equal length in JSON.
        binary: How it takes tensors as bytes.
        env: Variables that it is started with.
        forecasts: False for a server that answers a constant.
    """

    name: str
    product: str
    command: tuple[str, ...]
    venv: str | None
    one: Wire
    many: Wire | None = None
    binary: Wire | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    forecasts: bool = True


def _granian(interface: str, app: str, *more: str) -> tuple[str, ...]:
    listen = ("--host", "127.0.0.1", "--port", "{port}", "--workers", "2", "--http", "1", "--no-ws")
    return ("{bin}/granian", "--interface", interface, *listen, "--log-level", "error", *more, app)


def _script(app: str, *arguments: str) -> tuple[str, ...]:
    return ("{bin}/python", f"{{apps}}/{app}", "{port}", *arguments)


OURS = Peer(
    name="nextday",
    product="nextday",
    command=("{bin}/python", "-m", "nextday", "serve"),
    venv=None,
    one=questions.OURS,
    many=questions.OURS,
    binary=questions.OURS_BINARY,
    env={"NEXTDAY_PORT": "{port}", "NEXTDAY_PROCESSES": "2"},
)
BARE = Peer(
    name="granian RSGI, bare, batching",
    product="bare RSGI",
    command=_granian("rsgi", "bare_rsgi_app:app", "--loop", "uvloop"),
    venv="web",
    one=questions.BARE_ONE,
    many=questions.BARE_MANY,
)
CONSTANT = Peer(
    name="granian RSGI, a constant",
    product="constant",
    command=_granian("rsgi", "constant_rsgi_app:app", "--loop", "uvloop"),
    venv="web",
    one=questions.BARE_ONE,
    forecasts=False,
)
FASTAPI = Peer(
    name="FastAPI + uvicorn",
    product="FastAPI",
    command=(
        *("{bin}/uvicorn", "fastapi_app:app", "--app-dir", "{apps}", "--host", "127.0.0.1", "--port", "{port}"),
        *("--workers", "2", "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "error"),
    ),
    venv="web",
    one=questions.PLAIN,
    many=questions.PLAIN,
)
FLASK = Peer(
    name="Flask + granian WSGI",
    product="Flask",
    command=_granian("wsgi", "flask_app:app", "--blocking-threads", "1"),
    venv="web",
    one=questions.PLAIN,
    many=questions.PLAIN,
)


def _mlserver(name: str, workers: int, batch: int) -> Peer:
    return Peer(
        name=name,
        product="MLServer",
        command=_script("mlserver_app.py", str(workers), str(batch)),
        venv="mlserver",
        one=questions.MLSERVER,
        many=questions.MLSERVER,
    )


def _litserve(name: str, **env: str) -> Peer:
    return Peer(
        name=name,
        product="LitServe",
        command=_script("litserve_app.py"),
        venv="litserve",
        one=questions.PLAIN,
        many=questions.PLAIN,
        env=env,
    )


def _bentoml(name: str, **env: str) -> Peer:
    listen = ("--working-dir", "{apps}", "--host", "127.0.0.1", "--port", "{port}")
    return Peer(
        name=name,
        product="BentoML",
        command=("{bin}/bentoml", "serve", "bentoml_app:Forecasts", *listen),
        venv="bentoml",
        one=questions.BENTO,
        many=questions.BENTO,
        env={"BENTOML_DO_NOT_TRACK": "True", **env},
    )


def _ray(name: str, **env: str) -> Peer:
    return Peer(
        name=name,
        product="Ray Serve",
        command=_script("ray_app.py"),
        venv="ray",
        one=questions.PLAIN,
        many=questions.PLAIN,
        env={"RAY_USAGE_STATS_ENABLED": "0", **env},
    )


TRITON = Peer(
    name="pytriton",
    product="pytriton",
    command=_script("pytriton_app.py"),
    venv="pytriton",
    one=questions.TRITON,
    many=questions.TRITON,
    binary=questions.TRITON_BINARY,
)

PEERS = {
    "ours": OURS,
    "bare": BARE,
    "constant": CONSTANT,
    "fastapi": FASTAPI,
    "flask": FLASK,
    "pytriton": TRITON,
    "mlserver": _mlserver("MLServer, one process", 0, 0),
    "mlserver-workers": _mlserver("MLServer, two workers", 2, 0),
    "mlserver-batching": _mlserver("MLServer, two workers, batching", 2, 32),
    "litserve": _litserve("LitServe"),
    "litserve-batching": _litserve("LitServe, batching", BENCH_BATCHING="1"),
    "litserve-fast-queue": _litserve("LitServe, fast queue", BENCH_FAST_QUEUE="1"),
    "bentoml": _bentoml("BentoML"),
    "bentoml-batching": _bentoml("BentoML, batching", BENCH_BATCHING="1"),
    "ray": _ray("Ray Serve"),
    "ray-batching": _ray("Ray Serve, batching", BENCH_BATCHING="1"),
}
"""By the names that `--peers` takes."""
