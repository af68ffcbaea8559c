"""
A trained network exported anew: the weights of a bundle in the graphs that the code makes now. Needs torch.

Training carries every rounding of a processor on, so the same command gives other weights on another machine. What
changes the graph alone should change no weight, and so takes the weights of the version before:

    python -m models.reexport lstm
"""

from hashlib import sha256
from pathlib import Path
from typing import Final

import click
import msgspec
import numpy as np
import onnx
import torch
from onnx import NodeProto, numpy_helper

from models import export
from models.bundle import Bundle, folder_of, next_version, read_bundle, write_bundle
from models.gates_graph import to_explain
from models.networks import HIDDEN, WINDOW_DAYS, Forecasting, build
from models.ragged import Floats
from models.scores import check_markets, measure_as
from models.train import STORE
from models.walk import Walk

_GATES: Final = {"LSTM": (0, 2, 3, 1), "RNN": (0,)}
"""Where torch's gates (input, forget, cell, output) stand among ONNX's (input, output, forget, cell)."""


def export_anew(store: Path, model: str) -> Path:
    """
    Write the next version of a model: the weights of another one in new graphs, checked and scored as after training.

    Args:
        store: Folder of the models.
        model: ``name`` for the weights of its newest version, or ``name:version``.

    Returns:
        The new bundle's folder, written whole or not at all. Its card tells whose weights they are.

    Raises:
        UnknownModel: There is no such one.
        DataError: Its card's scores are of days that no packaged market has.
        BundleError: It is spoilt, or the new graphs do not answer as PyTorch does.
    """
    bundle = read_bundle(folder_of(store, model))
    card, network = bundle.card, network_of(bundle)
    check_markets(card)
    graph, walk = export.to_onnx(network), export.to_walk(network)
    parity = export.check_parity(graph, walk, network)
    explain = to_explain(network)
    exported = msgspec.structs.replace(
        card,
        version=next_version(store, card.name),
        training=card.training | {"parity": parity, "weights_of": card.digest},
        golden=export.golden_samples(network),
        sha256=sha256(graph).hexdigest(),
        walk_sha256=sha256(walk).hexdigest(),
        explain_sha256=sha256(explain).hexdigest() if explain else None,
        **measure_as(card, Walk(graph=walk, min_days=card.min_days))._asdict(),
    )
    return write_bundle(store, exported, graph, walk, explain)


def network_of(bundle: Bundle) -> Forecasting:
    """The network whose weights are in a bundle's graph."""
    network = build(bundle.card.network, bundle.card.window_days or WINDOW_DAYS)
    graph = onnx.load_from_string(bundle.model).graph
    tensors = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    weights = {name: tensors[name] for name in network.state_dict() if name in tensors}
    for node in graph.node:
        if node.op_type in _GATES and tensors[node.input[2]].shape[2] == HIDDEN:
            weights |= _layer(node, tensors)
    fixed = {name: value for name, value in network.state_dict().items() if name.startswith("front.")}
    network.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()} | fixed)
    return network


def _layer(node: NodeProto, tensors: dict[str, Floats]) -> dict[str, Floats]:
    """The weights of a recurrent operator, by torch's names and in its order of gates."""
    inputs, hidden, biases = (tensors[name][0] for name in node.input[1:4])
    parts = {"weight_ih": inputs, "weight_hh": hidden}
    parts["bias_ih"], parts["bias_hh"] = np.split(biases, 2)
    gates = list(_GATES[node.op_type])
    return {
        f"layer.{name}_l0": part.reshape(len(gates), HIDDEN, -1)[gates].reshape(part.shape)
        for name, part in parts.items()
    }


@click.command()
@click.argument("model")
@click.option("--store", type=click.Path(file_okay=False, path_type=Path), default=STORE, help="Folder of the models.")
def main(model: str, store: Path) -> None:
    """Export the weights of MODEL (a name, or name:version) anew, as its next version."""
    click.echo(export_anew(store, model))


if __name__ == "__main__":
    main()
