"""SVG as nested calls. Text is escaped, so names from a run may be anything."""

from markupsafe import Markup, escape

__all__ = ["element", "picture"]


def element(name: str, *children: str, **attributes: str | float) -> Markup:
    """One element. `class_` and `text_anchor` become class and text-anchor; plain text among children is escaped."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _value(value)) for key, value in attributes.items()
    )
    inside = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, inside)


def picture(
    width: float, height: float, title: str, description: str, *children: str, class_: str = "chart", **extra: str
) -> Markup:
    """A whole SVG that scales to its box and tells screen readers what it shows."""
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        *children,
        class_=class_,
        viewBox=f"0 0 {_value(width)} {_value(height)}",
        role="img",
        aria_label=f"{title}. {description}",
        **extra,
    )


def _value(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.2f}".rstrip("0").rstrip(".")
