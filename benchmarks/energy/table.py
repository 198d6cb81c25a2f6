"""Tables and shares, as the page writes them."""

from collections.abc import Iterator, Sequence

__all__ = ["percent", "table"]


def table(head: Sequence[str], words: int, rows: Iterator[Sequence[object]]) -> Iterator[str]:
    """The first `words` columns are words, the others numbers."""
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' if place < words else '---:' for place in range(len(head)))} |"
    yield from (f"| {' | '.join(map(str, row))} |" for row in rows)
    yield ""


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
