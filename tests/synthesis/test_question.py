import pytest
from pydantic import ValidationError

from edgesynth.errors import EdgesynthError, RequirementError, RunError
from edgesynth.synthesis.question import Question, same_question

QUESTION = Question(
    data="fake",
    prototype="resnet8",
    requirements=("accuracy>=prototype-1%", "latency_ms@host<=2", "energy_mj@tx2-sim<=prototype/2"),
    targets=("host",),
)


def test_a_question_survives_json():
    assert Question.model_validate_json(QUESTION.model_dump_json()) == QUESTION


def test_its_requirements_are_parsed():
    assert [r.key for r in QUESTION.parsed()] == ["accuracy", "latency_ms@host", "energy_mj@tx2-sim"]
    with pytest.raises(RequirementError, match="unknown quantity 'speed'"):
        QUESTION.model_copy(update={"requirements": ("speed>=2",)}).parsed()


@pytest.mark.parametrize(
    ("targets", "everything"), [((), ["host", "tx2-sim"]), (("tx2-sim",), ["tx2-sim", "host"]), (("host",) * 2, None)]
)
def test_the_targets_are_those_to_report_on_and_those_that_a_requirement_names(targets, everything):
    question = QUESTION.model_copy(update={"targets": targets})
    assert list(question.addresses()) == (everything or ["host", "tx2-sim"])


@pytest.mark.parametrize("change", [{"targets": ("tx3",)}, {"requirements": ("latency_ms@tx3<=2",)}])
def test_an_unknown_target_is_named(change):
    with pytest.raises(EdgesynthError, match="unknown target 'tx3'"):
        QUESTION.model_copy(update=change).addresses()


@pytest.mark.parametrize("change", [{"targets": ("tx2",)}, {"requirements": ("latency_ms@tx2<=2",)}])
def test_a_board_is_refused_before_anything_is_done(change):
    with pytest.raises(EdgesynthError, match=r"tx2 is a board, say where it is.*use tx2-sim"):
        QUESTION.model_copy(update=change).addresses()


def test_a_slip_in_a_name_is_no_question():
    with pytest.raises(ValidationError, match="cylces"):
        Question(data="fake", prototype="resnet8", requirements=(), cylces=3)


def test_options_left_out_or_given_alike_ask_the_same():
    same_question(QUESTION, {"data": None, "seed": 0, "prototype": "resnet8", "requirements": QUESTION.requirements})


@pytest.mark.parametrize(
    "requirements",
    [
        (" accuracy >= prototype - 1%", "latency_ms@host<= 2", "energy_mj@tx2-sim<=prototype/2 "),
        ("latency_ms@host<=2", "energy_mj@tx2-sim<=prototype/2", "accuracy>=prototype-1%", "latency_ms@host<=2"),
    ],
)
def test_requirements_that_say_the_same_ask_the_same(requirements):
    same_question(QUESTION, {"requirements": requirements})
    spaced = QUESTION.model_copy(update={"requirements": requirements})
    same_question(spaced, {"requirements": QUESTION.requirements})


def test_a_slip_in_a_requirement_is_named_on_resuming_as_well():
    with pytest.raises(RequirementError, match="unknown quantity 'speed'"):
        same_question(QUESTION, {"requirements": ("speed>=2",)})


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"seed": 1}, "this run was started with seed = 0, not 1: leave the option out, or start a new run"),
        ({"targets": ("host", "tx2-sim")}, "with targets = host, not host, tx2-sim:"),
        ({"data": "fake", "prototype": "resnet20"}, "with prototype = resnet8, not resnet20:"),
        ({"train_images": 100}, "with train_images = None, not 100:"),
        (
            {"requirements": ("macs<=5M",)},
            "requirements = accuracy>=prototype-1%, latency_ms@host<=2, energy.* not macs",
        ),
        (
            {"requirements": QUESTION.requirements[:2]},
            "requirements = .*, not accuracy>=prototype-1%, latency_ms@host<=2:",
        ),
    ],
)
def test_another_question_is_refused(given, what):
    with pytest.raises(RunError, match=what):
        same_question(QUESTION, given)
