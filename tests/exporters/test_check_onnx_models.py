"""`check` on the models that the onnx package ships, against what the public operator lists say of them.

operators.csv and models.csv were written from the lists of onnx-tensorrt (docs/operators.md and docs/Changelog.md, the
addresses are in exporters/edgesynth_exporters/rules/8.2.toml, 8.5.toml and 8.6.toml), not from what `check` answers.
"""

import csv
import warnings
from pathlib import Path

import onnx.backend.test
import pytest
from edgesynth_exporters.check import check_model
from edgesynth_exporters.errors import EdgesynthError
from edgesynth_exporters.rules import TENSORRT

from tests.exporters.models import target

HERE = Path(__file__).parent
SHIPPED = Path(onnx.backend.test.__file__).parent / "data"
VERSIONS = ("8.2", "8.6")
GREATEST_OPSET = {"8.2": 13, "8.6": 17}
TARGETS = {version: target(version, opset=99) for version in TENSORRT} | {"host": target(None, opset=99)}
NOT_FIT = {"onnx-valid", "types-fit", "shapes-fit", "shapes-stated", "negative-dimension"}


def rows(name):
    with (HERE / name).open(newline="") as file:
        return list(csv.DictReader(file))


OPERATORS = rows("operators.csv")
MODELS = {row["model"]: row for row in rows("models.csv")}
FILES = sorted(str(path.relative_to(SHIPPED)) for path in SHIPPED.rglob("*.onnx"))


@pytest.fixture(scope="module")
def node_tests(tmp_path_factory):
    """onnx's tests of single operators by name: each one's file and opset. They are made, not shipped."""
    from onnx.backend.test.loader import load_model_tests

    folder = tmp_path_factory.mktemp("nodes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making them divides by zero and overflows
        cases = load_model_tests(kind="node")
    for case in cases:
        (folder / f"{case.name}.onnx").write_bytes(case.model.SerializeToString())
    opsets = {case.name: max((e.version for e in case.model.opset_import if not e.domain), default=1) for case in cases}
    return {case.name.removeprefix("test_"): (folder / f"{case.name}.onnx", opsets[case.name]) for case in cases}


def errors(report, *but):
    return [f"{f.operator}: {f.reason}" for f in report.findings if f.severity == "error" and f.rule not in but]


def test_the_table_has_sixty_operators_and_both_answers():
    assert len({row["operator"] for row in OPERATORS}) >= 60
    for version in VERSIONS:
        assert {row[version] for row in OPERATORS} == {"yes", "no"}


@pytest.mark.parametrize("row", OPERATORS, ids=lambda row: row["case"])
def test_the_verdict_on_an_operator_is_that_of_the_list(node_tests, row):
    path, opset = node_tests[row["case"]]
    assert [n.op_type for n in onnx.load(path).graph.node] == [row["operator"]]
    for version in VERSIONS:
        report = check_model(path, target(version, opset=GREATEST_OPSET[version]))
        found = errors(report, "opset")
        assert (not found) == (row[version] == "yes"), (version, row["what the lists say"], found)
        assert report.ok == (row[version] == "yes" and opset <= GREATEST_OPSET[version])


@pytest.mark.parametrize("name", FILES)
def test_the_verdict_on_a_shipped_model_is_that_of_the_list(name):
    for version in VERSIONS:
        report = check_model(SHIPPED / name, target(version, opset=GREATEST_OPSET[version]))
        assert report.ok == (MODELS.get(name, {version: "yes"})[version] == "yes"), (version, errors(report))


def test_every_model_of_the_table_is_there():
    assert MODELS.keys() <= set(FILES)


def test_no_file_and_no_version_makes_it_fail(node_tests):
    """No NaN in an attribute of trees, no sequence, no text, no operator of opset 28 is a reason to fail."""
    paths = [path for path, _ in node_tests.values()] + [SHIPPED / name for name in FILES]
    assert len(paths) > 1500
    verdicts = {version: set() for version in TARGETS}
    for path in paths:
        for version, board in TARGETS.items():
            try:
                report = check_model(path, board)
            except EdgesynthError as error:
                pytest.fail(f"{path.name} for {version}: {error}")
            assert report.opset > 0
            assert not {f.rule for f in report.findings} & NOT_FIT, path.name  # all of these are valid ONNX
            assert all(line.isprintable() for line in report.lines())
            verdicts[version].add(report.verdict)
    assert all(answers == {"acceptable", "refused"} for answers in verdicts.values())
