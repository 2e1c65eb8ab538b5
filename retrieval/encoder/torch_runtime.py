"""Running a network with torch, and exporting it as an ONNX graph."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.encoder.config import EncoderConfig
from retrieval.encoder.graph_model import GraphModel
from retrieval.encoder.onnx_runtime import OnnxRunner, pictures_a_run
from retrieval.encoder.runtime_check import TOLERANCE, sample_pictures
from retrieval.encoder.shares import VectorShares
from retrieval.encoder.text_runtime import SAMPLE_TEXTS, TextModel, TextRunner
from retrieval.errors import RetrievalError
from retrieval.images import Preprocessing
from retrieval.networks.layers import Shares
from retrieval.networks.text_tokens import Tokens

CUDA_PICTURES_A_RUN = 256

GRAPH_TOLERANCE = 1e-4
"""How far a coordinate of a graph that takes a network's place for good may be from the network's."""


class Graph(nn.Module):
    """From pixels to unit vectors: normalises, runs the network, scales the embedding to length one.

    Input: uint8 (n, size, size, channels). Output: float32 (n, dim).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        mean = torch.tensor(preprocessing.mean, dtype=torch.float64).view(1, -1, 1, 1)
        std = torch.tensor(preprocessing.std, dtype=torch.float64).view(1, -1, 1, 1)
        # (x / 255 − mean) / std, with one multiplication and one addition a value.
        self.register_buffer("scale", (1 / (255 * std)).float())
        self.register_buffer("shift", (-mean / std).float())

    def forward(self, pixels: Tensor) -> Tensor:
        return F.normalize(self.network(self.normalised(pixels)), dim=1)

    def normalised(self, pixels: Tensor) -> Tensor:
        """The network's input: float32 (n, channels, size, size)."""
        return pixels.permute(0, 3, 1, 2).float() * self.scale + self.shift


class TextGraph(nn.Module):
    """From tokens, int64 (n, 2, length), to unit vectors, float32 (n, dim), by a network with a text side."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network

    def forward(self, tokens: Tensor) -> Tensor:
        return F.normalize(self.network.encode_tokens(tokens), dim=1)


class TorchRunner:
    """A network in torch, float32 throughout, channels last.

    Args:
        network: maps normalised float32 (n, c, h, w) to embeddings, on the CPU, in evaluation mode. It is
            copied only if it has to go elsewhere.
        preprocessing: what its input is.
        device: where to run.
        threads: how many cores to use on the CPU.
    """

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, device: torch.device, threads: int) -> None:
        self.device = device
        self.name = "torch" if device.type == "cpu" else f"torch on {torch.cuda.get_device_name(device)}"
        self._threads = threads
        graph = Graph(network if device.type == "cpu" else copy.deepcopy(network), preprocessing)
        self.graph = graph.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, pixels: NDArray[np.uint8], batch: int | None = None) -> NDArray[np.float32]:
        """Vectors of some pictures.

        Args:
            pixels: uint8 (n, size, size, channels), n at least 1.
            batch: at most so many at once; by default what is fast and takes little memory.

        Returns:
            float32 (n, dim).
        """
        if self.device.type == "cpu":
            step = pictures_a_run(pixels, batch)
        else:
            step = CUDA_PICTURES_A_RUN if batch is None else batch
        with precisely(self._threads), torch.inference_mode():
            parts = [
                self.graph(torch.from_numpy(np.ascontiguousarray(pixels[i : i + step])).to(self.device))
                for i in range(0, len(pixels), step)
            ]
            vectors: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
            return vectors


def shares(
    network: nn.Module, preprocessing: Preprocessing, pixels: NDArray[np.uint8], threads: int
) -> VectorShares | None:
    """Where the vectors of some pictures come from, on the CPU.

    Args:
        network: as :class:`TorchRunner` takes it.
        preprocessing: what its input is.
        pixels: uint8 (n, size, size, channels), n at least 1.
        threads: how many cores to use.

    Returns:
        None if the network does not say (:class:`retrieval.networks.layers.Shares`).
    """
    decompose: Callable[[Tensor], Shares] | None = getattr(network, "shares", None)
    if decompose is None:
        return None
    graph = Graph(network, preprocessing)
    step = pictures_a_run(pixels, None)
    positions, constants = [], []
    with precisely(threads), torch.inference_mode():
        for start in range(0, len(pixels), step):
            batch = torch.from_numpy(np.ascontiguousarray(pixels[start : start + step]))
            parts, constant, box = decompose(graph.normalised(batch))
            # As F.normalize, whose length is at least 1e-12.
            length = (parts.sum((1, 2)) + constant).norm(dim=1).clamp_min(1e-12)
            positions.append((parts / length[:, None, None, None]).numpy())
            constants.append((constant / length[:, None]).numpy())
    return VectorShares(np.concatenate(positions), np.concatenate(constants), box)


_lock = threading.Lock()
_users = 0
_outside: tuple[int, str, str] = (0, "", "")


@contextlib.contextmanager
def precisely(threads: int) -> Iterator[None]:
    """Let torch use so many cores in here, and a GPU full float32; from any number of threads at once.

    TF32 would make a GPU's vectors differ from a CPU's in the fourth digit. torch keeps the number of cores for each
    thread and, for threads to come, for the process; both are put back, and the rest by whoever leaves last.
    """
    global _users, _outside
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]  # it is made when asked for
    products = torch.backends.cuda.matmul
    with _lock:
        own = torch.get_num_threads()
        if not _users:
            _outside = (_of_new_threads(), convolutions.fp32_precision, products.fp32_precision)
        _users += 1
        torch.set_num_threads(threads)
        convolutions.fp32_precision = products.fp32_precision = "ieee"
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            torch.set_num_threads(own)
            if not _users:
                before, convolutions.fp32_precision, products.fp32_precision = _outside
                torch.set_num_threads(before)


def _of_new_threads() -> int:
    """How many cores torch lets a new thread use. One that was new while another was in here keeps what held then."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def best_device() -> torch.device:
    """The GPU if there is one that torch can use, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def encode_text(network: nn.Module, texts: Sequence[str], threads: int) -> NDArray[np.float32]:
    """Unit vectors float32 (n, dim) of texts, on the CPU, by a network with a text side.

    Raises:
        RetrievalError: it has none, or its tokenizer cannot be used.
    """
    words: Any = network
    with precisely(threads), torch.inference_mode():
        vectors: NDArray[np.float32] = TextGraph(network)(words.tokens(texts)).numpy()
        return vectors


def export(network: nn.Module, preprocessing: Preprocessing) -> bytes:
    """An ONNX file's content: from uint8 pixels (n, size, size, channels) to unit vectors (n, dim).

    Raises:
        Exception: the exporter cannot express the network; it raises whatever it likes.
    """
    size, channels = preprocessing.size, preprocessing.channels
    graph = Graph(network, preprocessing).eval()
    shown = torch.zeros(2, size, size, channels, dtype=torch.uint8)
    with _positions_known(graph, shown):
        return _exported(graph, shown, "pixels")


def export_text(network: nn.Module, threads: int) -> TextModel:
    """The text side of a network as a graph and a tokenizer, which give what it gives.

    Raises:
        Exception: the exporter, or the tokenizer's library, cannot express it, or it gives something else.
    """
    words: Any = network
    shown = words.tokens(SAMPLE_TEXTS[:2])
    made = TextModel(_exported(TextGraph(network).eval(), shown, "tokens"), words.tokenizer_file())
    if not np.array_equal(Tokens(made.tokenizer)(SAMPLE_TEXTS), words.tokens(SAMPLE_TEXTS).numpy()):
        raise RetrievalError("its tokenizer gives other numbers than transformers gives")
    right = encode_text(network, SAMPLE_TEXTS, threads)
    difference = float(np.abs(TextRunner(made, threads)(SAMPLE_TEXTS) - right).max())
    if not difference <= TOLERANCE:  # also where it is not a number
        raise RetrievalError(f"vectors of words differ by {difference:.1e}")
    return made


def _exported(graph: nn.Module, shown: Tensor, name: str) -> bytes:
    """An ONNX file's content, of a module that takes any number of such rows.

    Args:
        shown: two or more of them. name: of what it takes.
    """
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter by tracing is deprecated and says so at length. Its successor takes 20 times as long,
        # and needs two more packages.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            (shown,),
            file,  # type: ignore[arg-type]  # a stream is taken, as its documentation says
            input_names=[name],
            output_names=["vectors"],
            dynamic_axes={name: {0: "n"}, "vectors": {0: "n"}},
            dynamo=False,
        )
    return file.getvalue()


@contextlib.contextmanager
def _positions_known(graph: Graph, shown: Tensor) -> Iterator[None]:
    """Let the position embeddings of transformers' models be constants in here, as pictures have one size.

    How they are made of those for another size is beyond the exporter (TIPSv2), or has branches in a graph (DINOv3).
    """
    found: dict[tuple[nn.Module, str], object] = {}

    def recording(module: nn.Module, method: str, make: Callable[..., object]) -> Callable[..., object]:
        def recorded(*args: object, **kwargs: object) -> object:
            if (module, method) not in found:
                found[module, method] = make(*args, **kwargs)
            return found[module, method]

        return recorded

    places = [(module, "interpolate_pos_encoding") for module in graph.modules()]
    places += [(module, "forward") for module in graph.modules() if "RopePosition" in type(module).__name__]
    places = [(module, method) for module, method in places if callable(getattr(module, method, None))]
    try:
        for module, method in places:
            setattr(module, method, recording(module, method, getattr(module, method)))
        if places:
            with torch.no_grad():
                graph(shown)
        yield
    finally:
        for module, method in places:
            module.__dict__.pop(method, None)


def graph_of(network: nn.Module, config: EncoderConfig) -> GraphModel:
    """A network of any architecture as a graph, which is all that is kept of it.

    Args:
        network: maps float32 (n, c, h, w), normalised, to float32 (n, dim); on the CPU, in evaluation mode.
        config: what it is.

    Raises:
        RetrievalError: it cannot be exported, the graph does not compute the same, or other vectors than `config` says.
    """
    p = config.preprocessing
    name = config.network.partition(":")[2]
    advice = "write it without what depends on the numbers in a picture, or give a graph of it as onnx:FILE"
    try:
        graph = export(network, p)
        pictures = sample_pictures(3, p, seed=0)
        expected = TorchRunner(network, p, torch.device("cpu"), torch.get_num_threads())(pictures)
        made = OnnxRunner(graph, 1)(pictures)
    except RetrievalError as error:
        raise RetrievalError(f"The network {name!r} cannot be kept as a graph: {error}") from None
    except Exception as error:  # the exporter, and the network, raise whatever they like
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:300]
        raise RetrievalError(f"The network {name!r} cannot be exported as a graph ({why}); {advice}.") from None
    if made.shape != (len(pictures), config.dim):
        raise RetrievalError(
            f"The network {name!r} makes {' × '.join(map(str, made.shape[1:]))} numbers of a picture, and its "
            f"configuration says dim={config.dim}; correct the one or the other."
        )
    difference = float(np.abs(made - expected).max())
    if not difference <= GRAPH_TOLERANCE:  # also where it is not a number
        raise RetrievalError(
            f"The graph of the network {name!r} computes something else than the network (a coordinate differs by "
            f"{difference:.1e}); {advice}."
        )
    return GraphModel(graph, hashlib.sha256(graph).hexdigest(), {})
