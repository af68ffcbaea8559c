"""The graph as an MLServer runtime."""

from graph import Graph
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Forecasts(MLModel):
    async def load(self) -> bool:
        self._graph = Graph()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = {each.name: NumpyCodec.decode_input(each) for each in payload.inputs}
        quantiles = self._graph(given["closes"], given["lengths"].reshape(-1))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("quantiles", quantiles)])
