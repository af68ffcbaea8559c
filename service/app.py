"""The service, wired on one page."""

from collections.abc import Callable

from flask import Flask

from models.forecaster import Ran
from models.repository import Repository
from service.admission import Admission
from service.busy import BusyRoutes
from service.busy import routes as busy_routes
from service.catalogue import routes as model_routes
from service.dispatch import handle_errors, observe
from service.drain import Drain
from service.gate import guard
from service.health import routes as health_routes
from service.jobs import routes as job_routes
from service.lifecycle import Lifecycle
from service.observers import Observers
from service.oip import routes as protocol_routes
from service.pages import add_pages
from service.scrape import routes as metric_routes
from service.serving import routes as serving_routes
from service.settings import ServiceSettings
from worker.jobs import Jobs


def create_app(
    settings: ServiceSettings,
    *,
    models: Repository | None = None,
    jobs: Jobs | None = None,
    drain: Drain | None = None,
    observers: Observers | None = None,
    lifecycle: Lifecycle | None = None,
) -> Flask:
    """
    The service, wired. Loads no model and connects to nothing; both happen on first use.

    Args:
        settings: Where things are and what is taken.
        models: The models, where they are not the store of the settings.
        jobs: The jobs, where they are not in the Redis of the settings.
        drain: Whether the server is about to end, where somebody will say so.
        observers: Who is told of each request, where they are not this process's own.
        lifecycle: Of these models, where something else watches over it.
    """
    observers = observers or Observers.of(settings)
    models = models or open_models(settings, observers.metrics.run)
    jobs = jobs or Jobs.connect(settings, models)
    drain = drain or Drain()
    admission = Admission.of(settings)
    lifecycle = lifecycle or open_lifecycle(models, settings)
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False  # else a path with // is sent on to whatever host the caller says this is
    busy = app.extensions["busy"] = BusyRoutes(models, settings)
    app.register_blueprint(busy_routes(busy))
    app.register_blueprint(model_routes(models))
    app.register_blueprint(serving_routes(lifecycle))
    app.register_blueprint(job_routes(models, jobs, settings))
    app.extensions["observers"] = observers
    app.register_blueprint(health_routes(models, jobs, drain, observers.metrics))
    app.register_blueprint(metric_routes(observers.metrics, models, jobs))
    app.register_blueprint(protocol_routes(models, lifecycle, settings, busy.statistics, drain))
    add_pages(app, screens=settings.pages == "1")
    observe(app, observers)
    handle_errors(app)
    guard(app, admission, settings)
    return app


def open_models(settings: ServiceSettings, ran: Ran | None = None) -> Repository:
    """The models of the settings' store, none of them loaded; `ran` is told of each of their runs."""
    return Repository(
        settings.store, device=settings.device, device_id=settings.device_id, threads=settings.run_threads, ran=ran
    )


def open_lifecycle(models: Repository, settings: ServiceSettings, seen: Callable[[], None] = lambda: None) -> Lifecycle:
    """The life cycle of some models, with the settings' state; nothing watches as yet. `seen` as for the class."""
    return Lifecycle(models, settings.state, watch_s=settings.watch_s, seen=seen)
