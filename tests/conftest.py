"""Shared by all tests: the environment that the command line sets up, and one small real run."""

import pytest

from edgesynth.cli.main import set_environment
from tests.process import prepare

set_environment()
prepare()


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """(run directory, Results): digits, resnet8, estimated for a TX2. Read only."""
    from edgesynth.synthesis.journal import Journal
    from edgesynth.synthesis.progress import Progress
    from edgesynth.synthesis.question import Question
    from edgesynth.synthesis.run import synthesize

    run = tmp_path_factory.mktemp("run") / "digits"
    question = Question(
        data="digits",
        prototype="resnet8",
        requirements=("macs<=prototype/4", "accuracy>=prototype-0.05"),
        targets=("tx2-sim",),
        count=2,
        epochs=6,
        cycles=6,
    )
    with Journal.create(run, question.model_dump(mode="json")) as journal:
        results = synthesize(question, journal, Progress())
    return run, results
