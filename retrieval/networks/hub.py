"""Files of models from the Hugging Face hub: downloaded with progress, gone on with after a break, and checked."""

from __future__ import annotations

import re
from pathlib import Path

from retrieval.base import progress
from retrieval.base.files import digest
from retrieval.base.text import printable
from retrieval.errors import RetrievalError
from retrieval.networks.hub_models import HUB_MODELS, HubModel

BESIDE_WEIGHTS = (
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "tokenizer.model",
)
"""What a model needs beside its weights and configuration, where it has it."""

_CONNECT_SECONDS = 5
_SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch(source: str) -> Path:
    """The folder with a model's files, downloaded from the hub where need be.

    Args:
        source: a folder, which is taken as it is; or a name on the hub, with ``@`` and a revision behind it or not.

    Raises:
        RetrievalError: transformers is not installed, the hub does not give them and there is no copy in its cache, or
            they are not the ones that the hub, or the table of published models, names.
    """
    try:
        import transformers  # noqa: F401
        from huggingface_hub import HfApi, errors, snapshot_download
    except ImportError:
        raise RetrievalError(
            f'The model hf:{source} needs the package transformers; run `pip install "retrieval[pretrained]"`.'
        ) from None
    if source and Path(source).is_dir():
        return Path(source)
    name, _, revision = source.partition("@")
    published = next((one for one in HUB_MODELS.values() if one.name == f"hf:{source}"), None)
    if published is not None and name not in cached():
        progress.note(_announced(published))
    try:
        try:
            HfApi().model_info(name, revision=revision or None, timeout=_CONNECT_SECONDS)
            reached = True
        except (errors.HFValidationError, errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
            raise
        except Exception:  # the client's HTTP library's; downloading would try again for half a minute
            reached = False
        folder = Path(
            snapshot_download(
                name,
                revision=revision or None,
                # Neither pickles, nor code, nor the same weights for other libraries.
                allow_patterns=[*BESIDE_WEIGHTS, "config.json", "*.safetensors", "*.safetensors.index.json"],
                ignore_patterns=["*/*"],
                etag_timeout=_CONNECT_SECONDS,
                local_files_only=not reached,
            )
        )
    except errors.HFValidationError:
        why = "it is neither a folder nor a name such as facebook/dinov2-small"
    except errors.GatedRepoError:
        why = (
            "its owner asks you to accept conditions first, on its page at huggingface.co, and to log in: hf auth login"
        )
    except errors.RevisionNotFoundError:
        why = f"there is no revision {revision!r} of it on the Hugging Face hub"
    except errors.RepositoryNotFoundError:
        why = "there is no such model on the Hugging Face hub, or it is private"
    except errors.LocalEntryNotFoundError:
        found = cached()
        have = f"in its cache here are {', '.join(found)}" if found else "there is no model in its cache here"
        why = (
            f"the Hugging Face hub cannot be reached, and {have}; give one of these, or a folder with the model's files"
        )
    except Exception as error:  # the hub's client lets its HTTP library's errors through
        why = f"the Hugging Face hub answered {(str(error) or type(error).__name__).splitlines()[0]}"
    else:
        _check(source, folder, published)
        return folder
    raise RetrievalError(f"The model hf:{source} cannot be had: {why.rstrip('.')}.")


def cached() -> list[str]:
    """The names of the models in the hub's cache on this machine that have weights, in order."""
    try:
        from huggingface_hub import constants
    except ImportError:
        return []
    found = []
    for folder in sorted(Path(constants.HF_HUB_CACHE).glob("models--*")):
        if any(path.exists() for path in folder.glob("snapshots/*/*.safetensors")):
            found.append(printable(folder.name.removeprefix("models--").replace("--", "/")))
    return found


def revision(folder: Path) -> str | None:
    """The revision of a folder that :func:`fetch` gave; None of one that does not lie in the hub's cache."""
    return folder.name if folder.parent.name == "snapshots" else None


def _announced(model: HubModel) -> str:
    size = "" if model.size is None else f" ({model.size / 1e6:,.0f} MB)"
    gated = "; its owner asks you to accept conditions first, on its page" if model.gated else ""
    return f"Downloading {model.url}{size}. Licence: {model.licence}, {model.licence_url}{gated}."


def _check(source: str, folder: Path, published: HubModel | None) -> None:
    """Compare the weights with the SHA-256 that the hub calls large files by, and with that of the table.

    Raises:
        RetrievalError: they are other bytes.
    """
    for path in sorted(folder.glob("*.safetensors")):
        said = {path.resolve().name} if _SHA256.fullmatch(path.resolve().name) else set()
        if published is not None and published.sha256 is not None and path.name == "model.safetensors":
            said.add(published.sha256)
        if said and {found := digest(path)} != said:
            raise RetrievalError(
                f"The file {printable(path)!r} of the model hf:{source} has SHA-256 {found[:12]}… and not "
                f"{', '.join(f'{one[:12]}…' for one in sorted(said))}; delete it and what it links to, and try again."
            )
