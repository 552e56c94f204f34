"""What several rooms' tests share: one tiny checkpoint, built once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no counter-example.
settings.register_profile("house", deadline=None)
settings.load_profile("house")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole untrained checkpoint with its int8 model; tests must not write into it."""
    from tiny import tiny_checkpoint

    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pretrained encoder directory."""
    from tiny import tiny_encoder

    return tiny_encoder(tmp_path_factory.mktemp("encoder"))
