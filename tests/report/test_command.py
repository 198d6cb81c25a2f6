import json
from pathlib import Path

import typer
from typer.testing import CliRunner

from edgesynth.cli.report import report
from edgesynth.errors import RunError
from tests.report.made_up import made_up_run

app = typer.Typer()
app.command()(report)


def test_the_command_prints_the_path(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(made_up_run().model_dump_json(), "utf-8")
    result = CliRunner().invoke(app, [str(tmp_path)])
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / 'report.html'}\n"


def test_the_command_prints_json(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(made_up_run().model_dump_json(), "utf-8")
    result = CliRunner().invoke(app, [str(tmp_path), "--json"])
    assert json.loads(result.stdout) == {"report": str(tmp_path / "report.html")}


def test_errors_are_left_to_the_caller(tmp_path: Path) -> None:
    assert isinstance(CliRunner().invoke(app, [str(tmp_path)]).exception, RunError)
