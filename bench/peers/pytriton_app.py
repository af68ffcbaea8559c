"""Triton by pytriton: two Python processes behind its dynamic batcher, which waits for nobody. Called with a port."""

import sys

import numpy as np
from graph import Graph
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

MOST_ROWS = 256


def process():
    """What one process runs; its graph is made in it, at the first rows."""
    graphs = []

    @batch
    def forecast(closes, lengths):
        if not graphs:
            graphs.append(Graph())
        return [graphs[0](closes, lengths.reshape(-1))]

    return forecast


def main(port: int) -> None:
    config = TritonConfig(
        http_address="127.0.0.1", http_port=port, allow_grpc=False, allow_metrics=False, log_verbose=0
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="lstm",
            infer_func=[process(), process()],
            inputs=[
                Tensor(name="closes", dtype=np.float32, shape=(-1,)),
                Tensor(name="lengths", dtype=np.int64, shape=(1,)),
            ],
            outputs=[Tensor(name="quantiles", dtype=np.float32, shape=(9,))],
            config=ModelConfig(max_batch_size=MOST_ROWS, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
        )
        triton.serve()


if __name__ == "__main__":
    main(int(sys.argv[1]))
