"""`edgesynth doctor`: what works on this machine, and how to get what does not."""

from typing import Annotated

import typer

__all__ = ["doctor"]


def doctor(json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> int:
    """Look for everything that edgesynth can use. Exit code 1 when something is missing that it cannot do without."""
    import json

    from edgesynth.doctor import examine

    findings = examine()
    if json_:
        document = {"schema": "edgesynth.doctor/1", "findings": [finding._asdict() for finding in findings]}
        typer.echo(json.dumps(document, indent=2))
    else:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table("what", "", "found, or how to get it", box=None)
        for finding in findings:
            word, style = ("yes", "green") if finding.works else ("no", "red" if finding.needed else "yellow")
            table.add_row(finding.what, Text(word, style=style), Text(finding.detail, overflow="fold"))
        Console().print(table)
    return 0 if all(finding.works or not finding.needed for finding in findings) else 1
