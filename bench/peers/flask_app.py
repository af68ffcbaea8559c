"""A plain Flask route, with orjson both ways."""

import orjson
from flask import Flask, Response, request
from graph import Graph, padded

app = Flask(__name__)
graph = Graph()


@app.post("/forecast")
def forecast() -> Response:
    quantiles = graph(*padded(orjson.loads(request.get_data(cache=False))["closes"]))
    answer = orjson.dumps({"quantiles": quantiles}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(answer, mimetype="application/json")
