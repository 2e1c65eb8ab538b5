"""A tokenizer of eight words, as models with a text side have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = ["<pad>", "<s>", "</s>", "<unk>", "a", "red", "shoe", "cat"]


def tokenizer() -> Any:
    """The package's own object."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return made


def write(folder: Path, padding_side: str = "right") -> None:
    """As transformers leaves it in a model's folder."""
    import transformers

    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer(),
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        padding_side=padding_side,
    ).save_pretrained(folder)
