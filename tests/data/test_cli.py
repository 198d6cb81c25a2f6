import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgesynth.cli.data import app
from edgesynth.errors import DataError
from tests.data.files import write_cifar10

runner = CliRunner()


def test_ls_as_json_is_one_document() -> None:
    result = runner.invoke(app, ["ls", "--json"])
    document = json.loads(result.stdout)
    assert document["schema"] == "edgesynth.datasets/1"
    by_name = {each["name"]: each for each in document["datasets"]}
    assert by_name["digits"] == {
        "name": "digits",
        "ready": True,
        "where": "in scikit-learn",
        "images": 1797,
        "classes": 10,
    }
    assert by_name["cifar10"]["ready"] is False
    assert by_name["cifar10"]["where"].startswith("edgesynth data fetch cifar10")


def test_ls_shows_a_table() -> None:
    result = runner.invoke(app, ["ls"])
    assert result.exit_code == 0
    for text in "fashion-mnist", "1,797", "in scikit-learn", "a folder of images for each class":
        assert text in result.stdout


def test_fetch_says_where_the_data_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path / "data")
    monkeypatch.setenv("EDGESYNTH_DATA", str(tmp_path / "data"))
    assert runner.invoke(app, ["fetch", "cifar10"]).stdout == f"cifar10 is ready: {tmp_path / 'data'}\n"
    assert runner.invoke(app, ["fetch", "digits"]).stdout == "digits is ready\n"


def test_fetch_of_an_unknown_name_is_an_error_for_the_user() -> None:
    result = runner.invoke(app, ["fetch", "mnist"])
    assert isinstance(result.exception, DataError)
