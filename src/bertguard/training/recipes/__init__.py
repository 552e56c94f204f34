"""Recipes: the options of `guard train` that made a checkpoint, by name."""

from __future__ import annotations

import tomllib
from importlib.resources import files

from bertguard.errors import ConfigurationError


def read_recipe(name: str) -> dict[str, object]:
    """The options of a recipe of the package, as `guard train` names them.

    Raises:
        ConfigurationError: there is no such recipe.
    """
    folder = files(__name__)
    names = sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )
    if name not in names:
        raise ConfigurationError(f"no recipe {name!r}; there are: {', '.join(names)}")
    return tomllib.loads((folder / f"{name}.toml").read_text("utf-8"))
