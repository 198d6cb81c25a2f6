"""What holds for all tests of the agent, under each Python that it speaks: nothing here needs the workstation."""

from tests.process import prepare

prepare()
