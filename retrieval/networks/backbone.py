"""Any vision backbone of the transformers library: DINOv2, CLIP, SigLIP, ViT, ConvNeXt and their like.

Which vector is the embedding:

* models with a text side (CLIP, SigLIP): the picture's vector in the space that both share, after the projection;
* transformers that were trained through their class token (:data:`CLASS_TOKEN`): that token of the last layer;
* all others (ConvNeXt, Swin, ResNet ...): the model's own pooled vector.

Nothing but data is ever loaded: weights from safetensors, and no code that comes with a model.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from retrieval.base.files import digest
from retrieval.errors import RetrievalError
from retrieval.networks.backbone_input import preprocessing_of, quiet
from retrieval.networks.hub import BESIDE_WEIGHTS, fetch, revision
from retrieval.networks.hub_models import HUB_MODELS
from retrieval.networks.text_tokens import fixed

CLASS_TOKEN = frozenset(
    ("beit", "data2vec-vision", "deit", "dinov2", "dinov2_with_registers", "dinov3_vit", "vit", "vit_msn")
)
"""Model types whose embedding is the class token of the last layer."""


class Backbone(nn.Module):
    """A pretrained transformers model as an embedding network.

    Args:
        source: the model's name on the Hugging Face hub, with ``@`` and a revision or not, or a folder with its files.
        dim: the embedding's length; a linear layer is added. None: the model's own.

    Attributes:
        dim: the embedding's length.
        preprocessing: what the model's own image processor does, for our decoder; see
            :func:`retrieval.networks.backbone_input.preprocessing_of`.
        text: it also turns texts into embeddings.

    Input: float32 (n, 3, size, size), normalised. Output: float32 (n, dim), not of unit length.

    Raises:
        RetrievalError: transformers is not installed, the hub cannot be reached and has not been before, or this is
            no vision model that can be used.
    """

    def __init__(self, source: str, dim: int | None = None) -> None:
        super().__init__()
        self._source = source
        self._folder = fetch(source)
        self.model = _load(source, self._folder)
        self._shared = hasattr(self.model, "get_image_features") and hasattr(self.model, "get_text_features")
        if not self._shared and self.model.main_input_name != "pixel_values":
            raise RetrievalError(f"The model hf:{source} ({self._type}) does not take pictures; choose a vision model.")
        self.preprocessing, self._crop = preprocessing_of(source, self._folder, self.model.config)
        self.embedding: nn.Module = nn.Identity()
        own = self._length(source)
        if dim is not None:
            self.embedding = nn.Linear(own, dim)
        self.dim = own if dim is None else dim
        self.text = self._shared and dim is None and (self._folder / "tokenizer_config.json").is_file()
        self._texts: Any = None

    def _length(self, source: str) -> int:
        """How long the vectors are of pictures as the model's own files want them."""
        side = self.preprocessing.size
        try:
            with torch.inference_mode():
                return int(self.eval()(torch.zeros(1, 3, side, side)).shape[1])
        except RetrievalError:
            raise
        except Exception as error:  # the models check what they are given, or do not, each in its own way
            why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise RetrievalError(
                f"The model hf:{source} does not take what its preprocessor_config.json asks for, coloured squares of "
                f"{side} pixels ({why}); download both anew, or choose another model."
            ) from None

    def card(self) -> str:
        """What the model is, where it is from, and its licence, Markdown."""
        known = next(((word, one) for word, one in HUB_MODELS.items() if one.name == f"hf:{self._source}"), None)
        weights = [
            f"- Weights: {path.name}, SHA-256 {digest(path)}" for path in sorted(self._folder.glob("*.safetensors"))
        ]
        found = revision(self._folder)
        if known is None:
            lines = ["- Licence: not known here; see the model's own page"]
        else:
            lines = [f"- From: {known[1].url}", f"- Licence: {known[1].licence}, {known[1].licence_url}"]
        lines += [] if found is None else [f"- Revision: {found}"]
        title = known[0] if known else Path(self._source).name
        return "\n".join(
            [f"# {title}", "", f"A model of the library transformers, of type {self._type}.", "", *lines, *weights, ""]
        )

    @property
    def _type(self) -> str:
        return str(self.model.config.model_type)

    def forward(self, x: Tensor) -> Tensor:
        if self._crop < self.preprocessing.size:
            start = (self.preprocessing.size - self._crop) // 2
            x = x[:, :, start : start + self._crop, start : start + self._crop]
        if self._shared:
            vector = self.model.get_image_features(pixel_values=x).pooler_output
        else:
            output = self.model(pixel_values=x)
            if self._type in CLASS_TOKEN:
                vector = output.last_hidden_state[:, 0]
            else:
                vector = getattr(output, "pooler_output", None)
                if vector is None:
                    raise RetrievalError(
                        f"Models of type {self._type!r} give no single vector for a picture; choose another."
                    )
        embedding: Tensor = self.embedding(vector.flatten(1))
        return embedding

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """What texts are to the model.

        Args:
            texts: at least one; what is beyond the model's longest text is cut off.

        Returns:
            int64 (n, 2, length): the numbers of the tokens, and which of them are the text's (1) and not padding (0).

        Raises:
            RetrievalError: the model has no text side, or its tokenizer cannot be used.
        """
        found = self._tokenizer()(
            list(texts), padding="max_length", truncation=True, max_length=self._longest, return_tensors="pt"
        )
        mask = found.get("attention_mask", torch.ones_like(found["input_ids"]))
        return torch.stack([found["input_ids"], mask], dim=1)

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Embeddings of texts, float32 (n, dim), not of unit length, in the pictures' space; of :meth:`tokens`."""
        # SigLIP was trained on texts padded to full length and without a mask; it reads its last position.
        given = {} if self._type.startswith("siglip") else {"attention_mask": tokens[:, 1]}
        output = self.model.get_text_features(input_ids=tokens[:, 0], **given)
        vectors: Tensor = output.pooler_output
        return vectors

    def tokenizer_file(self) -> bytes:
        """The content of a tokenizer.json that gives what :meth:`tokens` gives, without transformers.

        Raises:
            RetrievalError: there is none for this kind of tokenizer.
        """
        from tokenizers import Tokenizer

        tokenizer = self._tokenizer()
        own = getattr(tokenizer, "backend_tokenizer", None)
        if own is None or tokenizer.truncation_side != "right":
            raise RetrievalError(
                f"The model's tokenizer ({type(tokenizer).__name__}) is none of the package tokenizers."
            )
        copied = Tokenizer.from_str(own.to_str())
        return fixed(copied, self._longest, tokenizer.pad_token, tokenizer.padding_side)

    @property
    def _longest(self) -> int:
        return int(self.model.config.text_config.max_position_embeddings)

    def _tokenizer(self) -> Any:
        if not self.text:
            raise RetrievalError(f"Models of type {self._type!r} know pictures only; choose a CLIP-like one.")
        if self._texts is None:
            from transformers import AutoTokenizer

            try:
                with quiet():
                    self._texts = AutoTokenizer.from_pretrained(self._folder, local_files_only=True)
            except Exception as error:  # transformers lets its parsers' errors through
                why = " ".join((str(error).strip() or type(error).__name__).split())[:200].rstrip(".")
                raise RetrievalError(
                    f"The words that {self._source} takes cannot be read ({why}); install what is missing, or choose a "
                    "model with a tokenizer.json."
                ) from None
            backend = getattr(self._texts, "backend_tokenizer", None)
            if self._type.startswith("siglip") and backend is not None and "iglip" not in type(self._texts).__name__:
                # SigLIP and SigLIP 2 learned from texts in small letters; the files of the latter name a tokenizer that
                # leaves large ones as they are.
                from tokenizers import normalizers

                own = [] if backend.normalizer is None else [backend.normalizer]
                backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
        return self._texts

    def save(self, folder: Path) -> None:
        """Write the model as transformers keeps it: configuration, safetensors, preprocessing, tokenizer."""
        with quiet():
            self.model.save_pretrained(folder)
        for name in BESIDE_WEIGHTS:
            if (self._folder / name).is_file():
                shutil.copyfile(self._folder / name, folder / name)


def _load(source: str, folder: Path) -> Any:
    """The model, float32, on the CPU, every weight of it from the file."""
    from transformers import AutoModel

    try:
        with quiet():
            model, loading = AutoModel.from_pretrained(
                folder,
                trust_remote_code=False,
                use_safetensors=True,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # which are told with the rest, below
            )
    except Exception as error:  # transformers lets its parsers' errors through
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise RetrievalError(
            f"The model hf:{source} cannot be loaded ({why}); it must be one that transformers knows by itself, "
            "with its weights as safetensors."
        ) from None
    missing = set(loading["missing_keys"])
    if model.config.model_type in CLASS_TOKEN and getattr(model, "pooler", None) is not None:
        # Behind the class token, unused here, and in most checkpoints not even there: it would be random.
        model.pooler = None
        missing = {name for name in missing if not name.startswith("pooler.")}
    odd = sorted(str(key[0] if isinstance(key, tuple) else key) for key in loading["mismatched_keys"])
    if odd:
        raise RetrievalError(
            f"The model hf:{source} has {len(odd)} weights of other shapes than its config.json says, as {odd[0]}; "
            "download it again or choose another."
        )
    if missing:
        raise RetrievalError(
            f"The model hf:{source} lacks {len(missing)} of its weights, such as {min(missing)}; "
            "download it again or choose another."
        )
    return model
