"""Writes what was measured into the bundle's card, and into the MODEL_CARD.md that lies beside it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from model.bundle import Bundle, BundleError, load_bundle, replace_card
from model.model_card import write_model_card


def write_scores(path: Path, measured: Bundle, scores: dict[str, Any]) -> None:
    """Put ``scores`` into the card of the bundle at ``path``. Its pixels and its content hash stay as they are.

    Raises:
        BundleError: what lies at ``path`` by now is not the bundle that was ``measured``.
        OSError: it cannot be written.
    """
    bundle = load_bundle(path)
    if bundle.content_hash != measured.content_hash:
        raise BundleError(
            f"{path}: another bundle was written there meanwhile; the scores are not its own, measure again"
        )
    card = dataclasses.replace(bundle.card, scores=scores)
    replace_card(path, card)
    text = path.parent / "MODEL_CARD.md"
    # Only where it tells of this very bundle: a folder may hold several.
    if text.exists() and bundle.content_hash in text.read_text(encoding="utf-8"):
        pictures = (path.parent / "samples.png").exists()
        write_model_card(path.parent, dataclasses.replace(bundle, card=card), pictures)
