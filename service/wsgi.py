"""The service as any WSGI server takes it: ``gunicorn 'service.wsgi:app()'``."""

from flask import Flask

from models.settings import from_env
from service.app import create_app
from service.settings import ServiceSettings


def app() -> Flask:
    """The service, set up by the environment, its models not yet loaded."""
    return create_app(from_env(ServiceSettings))
