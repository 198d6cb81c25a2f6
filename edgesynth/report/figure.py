"""A chart as the page shows it."""

from dataclasses import dataclass

from markupsafe import Markup

__all__ = ["Figure", "capital"]


@dataclass(frozen=True)
class Figure:
    """A chart with its heading and the sentence below it."""

    heading: str
    chart: Markup
    caption: str


def capital(text: str) -> str:
    """The text with a capital at its start."""
    return text[:1].upper() + text[1:]
