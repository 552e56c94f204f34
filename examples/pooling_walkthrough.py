"""From a text to a probability, step by step, with the bundled checkpoint.

pip install "bertguard[torch]"
python examples/pooling_walkthrough.py "UTRGV to the Moon"
"""

import sys

import torch

from bertguard.model.checkpoint import BUNDLED, TOKENIZER, read_manifest
from bertguard.model.pooling import cls_pool, mean_pool
from bertguard.model.tokenization import WindowTokenizer
from bertguard.model.torch_scorer import collate, load_classifier


def show(vector: torch.Tensor) -> str:
    """The first numbers of a vector."""
    return "[" + ", ".join(f"{value:+.3f}" for value in vector[:4].tolist()) + ", …]"


@torch.inference_mode()
def main(text: str) -> None:
    """Print every step for one text."""
    manifest = read_manifest(BUNDLED)
    tokenizer = WindowTokenizer.from_file(
        BUNDLED / TOKENIZER,
        cls_id=manifest.cls_id,
        sep_id=manifest.sep_id,
        window_tokens=manifest.window_tokens,
        overlap_tokens=manifest.overlap_tokens,
    )
    classifier = load_classifier(BUNDLED, manifest)

    print(f"1. text            {text!r}")
    window = next(tokenizer.windows(text, "prompt"))
    names = [tokenizer.tokenizer.id_to_token(token) for token in window.ids]
    print(f"2. tokens          {' '.join(names)}")
    print(f"3. token ids       {' '.join(map(str, window.ids))}")

    batch = collate([window], pad_id=manifest.pad_id)
    hidden = classifier.encoder(**batch).last_hidden_state
    print(f"4. hidden states   {tuple(hidden.shape)}  (batch, tokens, hidden)")
    for name, vector in zip(names, hidden[0], strict=True):
        print(f"     {name:<12} {show(vector)}")

    mask = batch["attention_mask"]
    print(f"5. CLS pooling     {show(cls_pool(hidden, mask)[0])}  the first token's vector")
    print(f"   mean pooling    {show(mean_pool(hidden, mask)[0])}  the average of all tokens")

    pooled = classifier.pool(hidden, mask)
    logits = classifier.head(pooled)
    print(f"6. head ({manifest.pooling})     logits {[round(x, 3) for x in logits[0].tolist()]}")

    probabilities = torch.softmax(logits / manifest.temperature["prompt"], dim=-1)[0].tolist()
    print("7. probabilities   ", end="")
    print(", ".join(f"{n} {p:.4f}" for n, p in zip(manifest.labels, probabilities, strict=True)))


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "UTRGV to the Moon")
