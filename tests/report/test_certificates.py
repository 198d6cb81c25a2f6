"""The certificate of a network."""

import pytest

from edgesynth.records import Measurement, Results
from edgesynth.report.certificates import Clause, certificates
from tests.report.made_up import asked_again, changed, made_up_run, on_board, with_board

TEXT = "energy_mj@tx2<=10"


def judged(record: Measurement, met: bool | None, text: str = TEXT) -> Results:
    """One network that this requirement alone was made for."""
    run = made_up_run()
    network = run.networks[0].model_copy(
        update={"measurements": [record], "requirements": {text: met}, "satisfied": met is True}
    )
    prototype = run.prototype.model_copy(update={"measurements": [on_board(7.2, 33.0)]})
    return changed(run, prototype=prototype, requirements=[text], networks=[network])


def clause(run: Results) -> Clause:
    ((only,),) = [certificate.clauses for certificate in certificates(run)]
    return only


@pytest.mark.parametrize(
    ("energy_mj", "met", "words"),
    [
        (9.0, True, "met"),
        (9.9, True, "met, within its interval"),
        (10.1, False, "not met, within its interval"),
        (11.0, False, "not met"),
        (9.9, None, "not known"),
    ],
)
def test_a_bound_inside_the_interval_is_said_and_changes_no_verdict(
    energy_mj: float, met: bool | None, words: str
) -> None:
    found = clause(judged(on_board(2.0, energy_mj), met))
    assert found.words == words
    assert found.bound == "≤ 10.0\u202fmJ"


def test_an_interval_of_the_inverse_counts() -> None:
    record = on_board(2.0, 9.9)
    record = record.model_copy(update={"ci95": {"inferences_per_joule": (98.0, 105.0)}})
    found = clause(judged(record, True))
    assert found.near
    assert found.interval == "9.52 to 10.20\u202fmJ"


def test_without_an_interval_nothing_is_near() -> None:
    found = clause(judged(on_board(2.0, 9.99).model_copy(update={"ci95": {}}), True))
    assert (found.words, found.interval) == ("met", "–")


def test_the_prototype_stands_beside_where_the_bound_goes_by_it() -> None:
    (absolute,) = certificates(judged(on_board(2.0, 9.0), True))
    assert [origin.name for origin in absolute.origins] == ["fermi-001"]
    (relative,) = certificates(judged(on_board(2.0, 9.0), True, "energy_mj@tx2<=prototype/2"))
    assert [origin.name for origin in relative.origins] == ["fermi-001", "resnet20"]


def test_every_requirement_has_a_clause_in_the_order_of_the_run() -> None:
    run = asked_again()
    for certificate in certificates(run):
        assert {found.text for found in certificate.clauses} == set(certificate.network.requirements)
    assert [found.text for found in certificates(run)[0].clauses] == run.requirements
    assert [certificate.asked_later for certificate in certificates(run)] == [False] * 3 + [True] * 2


def test_a_missing_trace_has_its_reason() -> None:
    lost = on_board(2.0, 9.0).model_copy(update={"trace": None, "warnings": ["no trace was kept: the disk is full"]})
    ((origin,),) = [certificate.origins for certificate in certificates(judged(lost, True))]
    assert (origin.trace, origin.reason) == (None, "no trace was kept: the disk is full")
    silent = lost.model_copy(update={"warnings": []})
    ((origin,),) = [certificate.origins for certificate in certificates(judged(silent, True))]
    assert origin.reason == "no trace was kept"


def test_traces_are_named_where_there_are_any() -> None:
    first, *_, last = certificates(with_board())
    assert first.has_trace
    assert next(origin.trace for origin in last.origins if origin.name == last.network.name) is None
