"""What every process that runs tests has, however it was started."""

import os
import signal
from pathlib import Path

from hypothesis import HealthCheck, settings


def test_only_the_time_that_examples_take_is_passed_over():
    assert settings.default.deadline is None
    assert list(settings.default.suppress_health_check) == [HealthCheck.too_slow]
    assert settings.default.max_examples == 100


def test_tests_can_be_interrupted_and_wait_for_no_other_agent():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert Path(os.environ["EDGESYNTH_RUNTIME"]).is_dir()
