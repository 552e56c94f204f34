"""The readings of one text in which an attack may hide, with offsets back to the original."""

from bertguard.views.readings import View, Views, views

__all__ = ["View", "Views", "views"]
