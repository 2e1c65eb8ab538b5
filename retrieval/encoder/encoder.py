"""The encoder: a network, its preprocessing, and whatever runs it fastest here."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence
from ctypes import CDLL
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from retrieval import images, networks
from retrieval.base import progress
from retrieval.base.machine import cores
from retrieval.base.text import for_terminal, printable
from retrieval.encoder import kept, store
from retrieval.encoder.config import EncoderConfig
from retrieval.encoder.graph_model import PREFIX as GRAPH
from retrieval.encoder.graph_model import GraphModel, headed, no_network
from retrieval.encoder.head_map import HeadMap
from retrieval.encoder.onnx_runtime import OnnxRunner
from retrieval.encoder.runtime_check import TOLERANCE, Comparison, compare, sample_pictures
from retrieval.encoder.shares import VectorShares
from retrieval.encoder.text_runtime import SAMPLE_TEXTS, TextModel, TextRunner
from retrieval.errors import RetrievalError
from retrieval.images import Pixels
from retrieval.index.records import is_unicode
from retrieval.networks.hub_models import HUB_MODELS, WORDS
from retrieval.networks.published import PUBLISHED, Published

if TYPE_CHECKING:
    from torch import nn

    from retrieval.networks import EmbeddingNetwork
    from retrieval.networks.backbone import Backbone

BUILT_IN = {"default": "efficientnet_lite1", "fast": "efficientnet_lite0"}
"""The encoders for photographs that one need not train: what they are called, and their networks."""

DEFAULT = BUILT_IN["default"]

Runtime = Literal["auto", "torch", "onnx"]
Vectors = NDArray[np.float32]


class _Runner(Protocol):
    @property
    def name(self) -> str: ...

    def __call__(self, pixels: Pixels, batch: int | None = None) -> Vectors: ...


class Encoder:
    """Pictures become unit vectors whose inner product is the pictures' similarity.

    Made by :meth:`load` or :meth:`of`.

    Attributes:
        config: what the encoder is.
        dim: length of a vector.
        hash: SHA-256 in hexadecimal over everything that a vector depends on; the same model has the same
            hash wherever it was loaded from and whatever runs it.
        card: the model card, Markdown, if there is one.
        comparison: what came of comparing ONNX Runtime with torch; None if nobody compared yet.
    """

    def __init__(
        self,
        config: EncoderConfig,
        weights: str,
        source: nn.Module | GraphModel | store.Saved,
        *,
        card: str | None = None,
        threads: int | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise RetrievalError(f"threads is {threads}; give a whole number from 1 upwards.")
        self.config = config
        self.dim = config.dim
        self.hash = config.hash(weights)
        self.card = card
        self.comparison = source.comparison if isinstance(source, store.Saved) else None
        if config.graph_only:
            self.comparison = Comparison(True, "")  # there is nothing that it could be compared with
        self._weights = weights
        self._source = source
        self._threads = threads or cores()
        self._network: nn.Module | None = None
        self._from_elsewhere = False
        self._graph = source.graph if isinstance(source, GraphModel) else None
        self._text = source.text if isinstance(source, GraphModel) else None
        self._onnx: OnnxRunner | None = None
        self._runner: _Runner | None = None
        self._runtime: Runtime = "auto"
        self._words: Callable[[Sequence[str]], Vectors] | None = None

    @classmethod
    def load(
        cls, source: str | Path | None = None, *, runtime: Runtime = "auto", threads: int | None = None
    ) -> Encoder:
        """Load an encoder.

        Args:
            source: None or "default" for EfficientNet-Lite1 with its ImageNet weights, "fast" for Lite0; `hf:`
                and a transformers model's name or folder; one word for such a model
                (:data:`retrieval.networks.hub_models.HUB_MODELS`); `onnx:` and a file; a folder that :meth:`save`
                wrote, or one with such a folder `encoder` in it (a run, an index).
            runtime: "auto" takes ONNX Runtime where the folder (or, for the first two, what this user's cache
                keeps) holds its graph, and so does not import torch, and torch otherwise; call
                :meth:`optimise` before encoding many pictures.
            threads: how many cores to use; all by default.

        Raises:
            RetrievalError: there is no such encoder, or its files are not the ones that were saved.
        """
        if runtime not in ("auto", "torch", "onnx"):
            raise RetrievalError(f"There is no runtime {runtime!r}; choose auto, torch or onnx.")
        name = "default" if source is None else str(source)
        name = BUILT_IN.get(name, name)
        if name in HUB_MODELS and not Path(name).exists():
            name = HUB_MODELS[name].name
        if name in PUBLISHED:
            encoder = cls._made_before(name, threads) or cls._pretrained(name, threads)
        elif name.startswith("hf:"):
            encoder = cls._pretrained(name, threads)
        elif name.startswith(GRAPH):
            from retrieval.encoder import onnx_file

            config, model, card = onnx_file.load(Path(name.removeprefix(GRAPH)))
            encoder = cls(config, model.digest, model, card=card, threads=threads)
        else:
            saved = store.Saved.open(_folder(Path(name)))
            encoder = cls(saved.config, saved.weights, saved, card=saved.card(), threads=threads)
        encoder._start(runtime)
        return encoder

    @classmethod
    def of(
        cls, network: nn.Module, config: EncoderConfig, *, card: str | None = None, threads: int | None = None
    ) -> Encoder:
        """An encoder of a network in memory, as it is now: training may go on with the network.

        Args:
            network: maps float32 (n, c, h, w), normalised, to float32 (n, dim).
            config: what it is; `config.network` and `config.options` make the same architecture again. With any
                other name of a network, its ONNX graph is all that is kept of it: then neither its code nor torch
                is needed any more.
            card: a model card to save with it, Markdown.
            threads: how many cores to use; all by default.

        Raises:
            RetrievalError: the architecture is not ours, and cannot be exported; or its vectors are not `config.dim`
                numbers.
        """
        import copy

        from retrieval.encoder import weights

        config = dataclasses.replace(config, network=_public(config.network))
        frozen = copy.deepcopy(network).cpu().eval().requires_grad_(False)
        if not networks.known(config.network):
            from retrieval.encoder.torch_runtime import graph_of

            config = dataclasses.replace(config, network=f"{GRAPH}{config.network.removeprefix(GRAPH)}", text=False)
            model = graph_of(frozen, config)
            return cls(config, model.digest, model, card=card, threads=threads)
        return cls(config, weights.digest(frozen), frozen, card=card, threads=threads)

    def with_head(
        self,
        head: HeadMap,
        *,
        classes: Sequence[str] = (),
        trained_on: str = "",
        text: bool = False,
        gain: Sequence[str] = (),
        card: str = "",
    ) -> Encoder:
        """The encoder of a head over this one.

        Args:
            head: what maps this encoder's vectors.
            classes, trained_on: what the head learned, and from what.
            text: it may also map the vectors of texts.
            gain: what was gained, a sentence each.
            card: its card, Markdown.

        Raises:
            RetrievalError: this encoder makes codes, or is a head itself.
        """
        config = self.config
        if config.network == networks.HEAD:
            raise RetrievalError("The encoder is a head already; train another one on the encoder below it.")
        options: dict[str, Any] = {
            "base": config.network,
            "options": {**config.options, **({"pretrained": False} if networks.pretrained(config.network) else {})},
            "base_dim": self.dim,
            "base_hash": self.hash,
            "size": len(head.weight),
            "kept": head.dim - len(head.weight),
            "plain": bool(head.mix) and head.rest is None,
            "mix": head.mix,
        }
        if config.transformers:
            options["options"] = dict(config.options)
        made = EncoderConfig(
            network=networks.HEAD,
            options=options,
            dim=head.dim,
            preprocessing=config.preprocessing,
            classes=tuple(classes),
            trained_on=trained_on,
            text=text and config.text,
            gain=tuple(gain),
        )
        if config.graph_only:
            model = headed(self._read_graph(), self.hash, head, self._text_model() if made.text else None)
            return Encoder(made, model.digest, model, card=card or None, threads=self._threads)
        import torch

        from retrieval.networks.head import Head

        network = Head(**{**options, "base": self._loaded_network()})
        network.load_state_dict({name: torch.from_numpy(layer) for name, layer in head.layers.items()}, strict=False)
        return Encoder.of(network, made, card=card or None, threads=self._threads)

    def head(self) -> tuple[str, HeadMap] | None:
        """The hash of the encoder below and what maps its vectors, if this is a head that was saved; else None.

        Raises:
            RetrievalError: its files are not the ones that were saved.
        """
        if self.config.network != networks.HEAD or not isinstance(self._source, store.Saved):
            return None
        return str(self.config.options["base_hash"]), HeadMap.of(self._source)

    @classmethod
    def _pretrained(cls, name: str, threads: int | None) -> Encoder:
        title = PUBLISHED[name].title if name in PUBLISHED else name
        progress.note(f"Loading {printable(title)}")
        from retrieval.encoder import weights

        network = networks.create(name).eval().requires_grad_(False)
        described = cast("EmbeddingNetwork", network)
        config = EncoderConfig(
            network=_public(name),
            options={},
            dim=described.dim,
            preprocessing=described.preprocessing,
            text=bool(getattr(network, "text", False)),
        )
        if name in PUBLISHED:
            config = _config(name, PUBLISHED[name])
        card = cast("Backbone", network).card() if name.startswith("hf:") else None
        encoder = cls(config, weights.digest(network), network, card=card, threads=threads)
        encoder._from_elsewhere = True
        return encoder

    @classmethod
    def _made_before(cls, name: str, threads: int | None) -> Encoder | None:
        """The encoder of weights that come as a package, if it is kept, and without torch; None if it is not."""
        published = PUBLISHED[name]
        config = _config(name, published)
        found = kept.find(config.hash(published.digest), published.digest)
        if found is None:
            return None
        encoder = cls(config, published.digest, found, threads=threads)
        return encoder if store.ONNX not in found.files or encoder._graph_gives(published.answers) else None

    def _graph_gives(self, right: Callable[[Vectors], bool]) -> bool:
        """Whether a graph that was kept gives the right vector of a made-up picture."""
        try:
            vectors = self._onnx_runner()(sample_pictures(1, self.config.preprocessing, seed=0))
        except Exception:  # a graph that fails raises whatever ONNX Runtime likes
            return False
        return vectors.shape == (1, self.dim) and vectors.dtype == np.float32 and right(vectors[0])

    @property
    def runtime(self) -> str:
        """What computes the vectors: "onnx", "torch", or "torch on" and a GPU's name."""
        return self._started().name

    def read(self, picture: str | Path) -> Pixels:
        """A picture file as this encoder's input: uint8 (size, size, channels).

        Raises:
            UnreadableImage: it cannot be read; a RetrievalError that says why.
        """
        return images.read(picture, self.config.preprocessing)

    def encode(self, pixels: Pixels, batch: int | None = None) -> Vectors:
        """Vectors of pictures.

        The same picture has the same vector, up to the last digits of a float, whatever batch it comes in.

        Args:
            pixels: uint8 (n, size, size, channels), as :func:`retrieval.images.read` makes them for
                `config.preprocessing`.
            batch: at most so many go through the network at once; by default what is fast and takes little
                memory.

        Returns:
            float32 (n, dim), C-contiguous, rows of unit length.

        Raises:
            RetrievalError: `pixels` have another shape or type, or the network gives no numbers.
        """
        self._check(pixels)
        if batch is not None and batch < 1:
            raise RetrievalError(f"batch is {batch}; give a whole number from 1 upwards.")
        if not len(pixels):
            return np.empty((0, self.dim), np.float32)
        return self._checked(self._started()(pixels, batch))

    def shares(self, pixels: Pixels) -> VectorShares | None:
        """Where the vectors of pictures come from; by torch, on the CPU, whatever runs the network otherwise.

        Args:
            pixels: uint8 (n, size, size, channels), n at least 1, as for :meth:`encode`.

        Returns:
            The unit vectors as sums over the positions of the network's last feature map; None if this network's
            vectors are no such sums.

        Raises:
            RetrievalError: `pixels` have another shape or type, or the network gives no numbers.
        """
        self._check(pixels)
        if self.config.graph_only:
            return None
        from retrieval.encoder import torch_runtime

        found = torch_runtime.shares(self._loaded_network(), self.config.preprocessing, pixels, self._threads)
        if found is not None:
            self._checked(found.positions)
        return found

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts, to be compared with those of pictures.

        Args:
            texts: what to look for, in a language that the model was trained on.

        Returns:
            float32 (n, dim), C-contiguous, rows of unit length.

        Raises:
            RetrievalError: this encoder knows pictures only, or a text is not Unicode.
        """
        if not self.config.text and self.config.network == networks.HEAD:
            raise RetrievalError(
                "Words are not looked for through this head: its training did not show that they find as much as "
                "before, or the encoder below it knows none; ask an index of that encoder, if it knows words."
            )
        if not self.config.text:
            raise RetrievalError(
                f"The encoder {self.config.network!r} knows pictures only; to search by text, build the index with a "
                f"model that knows words, for example --model {WORDS}."
            )
        if not texts:
            return np.empty((0, self.dim), np.float32)
        wrong = next((text for text in texts if not is_unicode(text)), None)
        if wrong is not None:
            raise RetrievalError(f"The text {printable(wrong)!r} is not Unicode; type it anew.")
        if self._words is None:
            model = None if self._runtime == "torch" and not self.config.graph_only else self._text_model()
            self._words = self._torch_words if model is None else TextRunner(model, self._threads)
        return self._checked(self._words(texts))

    def optimise(self) -> None:
        """Make ready for many pictures: the GPU if there is one, else the faster of torch and ONNX Runtime.

        The first time, this exports the network and compares the two on made-up pictures, which takes a few
        seconds; :meth:`save` records the result. ONNX Runtime is taken only where no coordinate of a vector
        differs by more than 1e-5, and where it is faster.
        """
        if _cuda_driver_present() and not self.config.graph_only:
            runner = self._torch_runner()
            if runner.name != "torch":
                self._runner = runner
                return
        self._runner = self._onnx_runner() if self._compared().faster else self._torch_runner()

    def save(self, folder: str | Path) -> None:
        """Save `config.json`, the weights, `network.onnx` where it is equal, and the card.

        The folder appears complete or not at all; an encoder that is there already is replaced.

        Raises:
            RetrievalError: the folder cannot be written, or holds something else.
        """
        comparison = self._compared()

        def fill(into: Path) -> None:
            if isinstance(self._source, store.Saved):
                self._source.copy(into)
            elif isinstance(self._source, GraphModel):
                self._source.write(into)
            else:
                from retrieval.encoder import weights

                weights.write(self._source, into)
            if comparison.kept:
                (into / store.ONNX).write_bytes(self._read_graph())
            if self._text is not None:
                _write_all(self._text.files, into)
            if self.card is not None:
                (into / store.CARD).write_text(self.card, "utf-8")

        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        config = dataclasses.replace(self.config, created=self.config.created or now)
        store.write(Path(folder), config, self._weights, comparison, fill)

    def _start(self, runtime: Runtime) -> None:
        self._runtime = runtime
        graph_there = isinstance(self._source, store.Saved) and store.ONNX in self._source.files
        if runtime == "onnx" and not self._compared().kept:
            raise RetrievalError(
                f"ONNX Runtime cannot stand in for torch with this encoder ({self._compared().reason}); "
                "load it with runtime='auto'."
            )
        use_graph = runtime == "onnx" or (runtime == "auto" and (graph_there or self.config.graph_only))
        self._runner = self._onnx_runner() if use_graph else self._torch_runner()

    def _started(self) -> _Runner:
        if self._runner is None:
            self._runner = self._onnx_runner() if self.config.graph_only else self._torch_runner()
        return self._runner

    def _onnx_runner(self) -> _Runner:
        if self._onnx is None:
            self._onnx = OnnxRunner(self._read_graph(), self._threads)
        return self._onnx

    def _torch_runner(self) -> _Runner:
        from retrieval.encoder.torch_runtime import TorchRunner, best_device

        p = self.config.preprocessing
        return TorchRunner(self._loaded_network(), p, best_device(), self._threads)

    def _read_graph(self) -> bytes:
        if self._graph is None:
            self._graph = cast(store.Saved, self._source).read(store.ONNX)
        return self._graph

    def _text_model(self) -> TextModel | None:
        """What turns words into vectors without torch; None where nothing does, or nobody has exported it yet."""
        if self._text is None and isinstance(self._source, store.Saved) and store.TEXT in self._source.files:
            self._text = TextModel(self._source.read(store.TEXT), self._source.read(store.TOKENIZER))
        return self._text

    def _torch_words(self, texts: Sequence[str]) -> Vectors:
        from retrieval.encoder.torch_runtime import encode_text

        return encode_text(self._loaded_network(), texts, self._threads)

    def _loaded_network(self) -> nn.Module:
        if self._network is None:
            if isinstance(self._source, GraphModel):
                raise no_network(self.config.network)
            if isinstance(self._source, store.Saved):
                from retrieval.encoder import weights

                self._network = weights.restore(self._source)
            else:
                self._network = self._source
        return self._network

    def _compared(self) -> Comparison:
        """Whether ONNX Runtime may stand in for torch; exports the network and compares if nobody has."""
        if self.comparison is None and not (self._from_elsewhere and self._remembered()):
            self._compare()
            if self._from_elsewhere:
                self._keep()
        return cast(Comparison, self.comparison)

    def _remembered(self) -> bool:
        """Take what is kept about this encoder, if torch gives the same vector as the graph."""
        published = PUBLISHED.get(self.config.network)
        found = kept.find(self.hash, None if published is None else published.digest)
        if found is None:
            return False
        self.comparison, self._graph = found.comparison, found.contents.get(store.ONNX)
        if store.TEXT in found.contents:
            self._text = TextModel(found.contents[store.TEXT], found.contents[store.TOKENIZER])
        if self._graph is not None:
            expected = self._cpu_runner()(sample_pictures(1, self.config.preprocessing, seed=0))[0]
            if not self._graph_gives(lambda vector: bool(np.abs(vector - expected).max() <= TOLERANCE)):
                self.comparison = self._graph = self._onnx = None
        if self._text is not None and not self._words_are_right(self._text):
            self.comparison = self._text = None
        return self.comparison is not None

    def _words_are_right(self, kept_text: TextModel) -> bool:
        """Whether what was kept does with words what torch does; the encoder's hash says nothing of a tokenizer."""
        texts = SAMPLE_TEXTS[:1]
        try:
            right = self._torch_words(texts)
            same = cast("Backbone", self._loaded_network()).tokenizer_file() == kept_text.tokenizer
            vectors = TextRunner(kept_text, self._threads)(texts)
        except RetrievalError:
            return False
        return same and vectors.shape == right.shape and bool(np.abs(vectors - right).max() <= TOLERANCE)

    def _compare(self) -> None:
        from retrieval.encoder.torch_runtime import export

        p = self.config.preprocessing
        if self._from_elsewhere:
            progress.note("Exporting it and choosing the runtime, once on this machine")
        try:
            graph = export(self._loaded_network(), p)
            runner = OnnxRunner(graph, self._threads)
        except Exception as error:  # the exporter raises whatever it likes; torch then does the work
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.comparison = Comparison(False, f"the network cannot be exported: {why}"[:300])
        else:
            self.comparison = compare(self._cpu_runner(), runner, p, self._threads)
            if self.comparison.kept:
                self._graph, self._onnx = graph, runner
        if self.config.text:
            self._export_text()

    def _export_text(self) -> None:
        """Let words be looked for without torch, where that gives the same vectors."""
        from retrieval.encoder.torch_runtime import export_text

        try:
            self._text = export_text(self._loaded_network(), self._threads)
        except Exception as error:  # the exporter raises whatever it likes
            why = for_terminal((str(error).strip() or type(error).__name__).splitlines()[0])[:300]
            progress.note(f"note: words will be looked for with torch, which takes some seconds to begin ({why})")

    def _keep(self) -> None:
        def fill(into: Path) -> None:
            if self._graph is not None:
                (into / store.ONNX).write_bytes(self._graph)
            if self._text is not None:
                _write_all(self._text.files, into)
            if self.config.network in PUBLISHED:
                from retrieval.encoder import weights

                weights.write(self._loaded_network(), into)

        kept.keep(self.config, self._weights, cast(Comparison, self.comparison), fill)

    def _cpu_runner(self) -> _Runner:
        import torch

        from retrieval.encoder.torch_runtime import TorchRunner

        return TorchRunner(self._loaded_network(), self.config.preprocessing, torch.device("cpu"), self._threads)

    def _check(self, pixels: Pixels) -> None:
        p = self.config.preprocessing
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (p.size, p.size, p.channels):
            raise RetrievalError(
                f"This encoder takes pixels uint8 (n, {p.size}, {p.size}, {p.channels}) and was given "
                f"{pixels.dtype} {pixels.shape}; read the pictures with its preprocessing."
            )

    def _checked(self, vectors: Vectors) -> Vectors:
        if not np.isfinite(vectors).all():
            raise RetrievalError(
                f"The encoder {self.config.network!r} gives vectors that are not numbers; its weights are "
                "no good, train it anew."
            )
        return np.ascontiguousarray(vectors)


def save_trained(folder: str | Path, network: nn.Module, config: EncoderConfig, card: str) -> None:
    """Save a network that was trained as an encoder; what a training calls.

    Args:
        folder: where to; an encoder that is there already is replaced, whole or not at all.
        network: maps float32 (n, c, h, w), normalised, to float32 (n, dim); left as it is.
        config: what it is.
        card: the model card, Markdown.

    Raises:
        RetrievalError: the folder cannot be written, or holds something else.
    """
    Encoder.of(network, config, card=card).save(folder)


def _write_all(files: Mapping[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _folder(source: Path) -> Path:
    """Where the encoder lies: a run's or an index's folder has it in `encoder`."""
    inner = source / "encoder"
    return inner if (inner / store.CONFIG).is_file() else source


def _config(name: str, published: Published) -> EncoderConfig:
    """The configuration of the encoder of published weights."""
    return EncoderConfig(name, {}, published.dim, published.preprocessing, trained_on="ImageNet")


def _public(network: str) -> str:
    """A network's name without the path of a transformers model's folder, which is nobody else's business."""
    folder = Path(network.removeprefix("hf:"))
    return f"hf:{folder.resolve().name}" if network.startswith("hf:") and folder.is_dir() else network


def _cuda_driver_present() -> bool:
    """Whether asking torch for a GPU is worth the seconds that importing torch takes."""
    for library in ("libcuda.so.1", "nvcuda.dll"):
        try:
            CDLL(library)
        except OSError:
            continue
        return True
    return False
