"""Answers HTTP."""

from flask import Flask

from models.repository import Repository
from service.admission import Admission
from service.catalogue import routes as model_routes
from service.errors import handle_errors
from service.exchange import observe
from service.forecasts import routes as forecast_routes
from service.gate import GuardedHotPath, guard
from service.health import routes as health_routes
from service.jobs import routes as job_routes
from service.oip import routes as protocol_routes
from service.pages import add_pages
from service.settings import ServiceSettings
from worker.jobs import Jobs


def create_app(settings: ServiceSettings, *, models: Repository | None = None, jobs: Jobs | None = None) -> Flask:
    """
    The service, wired. Loads no model and connects to nothing; both happen on first use.

    Args:
        settings: Where things are and what is taken.
        models: The models, where they are not the store of the settings.
        jobs: The jobs, where they are not in the Redis of the settings.
    """
    models = models or open_models(settings)
    jobs = jobs or Jobs.connect(settings, models)
    admission = Admission.of(settings)
    app = Flask(__name__, static_folder=None)
    app.register_blueprint(forecast_routes(models, settings))
    app.register_blueprint(model_routes(models))
    app.register_blueprint(job_routes(models, jobs, settings))
    app.register_blueprint(health_routes(models, jobs))
    app.register_blueprint(protocol_routes(models, settings))
    add_pages(app)
    observe(app)
    handle_errors(app)
    guard(app, admission, settings)
    app.wsgi_app = GuardedHotPath(app.wsgi_app, models, settings, admission)  # type: ignore[method-assign]
    return app


def open_models(settings: ServiceSettings) -> Repository:
    """The models of the settings' store, none of them loaded."""
    return Repository(
        settings.store, device=settings.device, device_id=settings.device_id, threads=settings.run_threads
    )
