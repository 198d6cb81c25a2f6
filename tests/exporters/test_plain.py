"""Text that must not steer a terminal."""

from edgesynth_exporters import findings
from edgesynth_exporters.plain import plain


def test_what_steers_a_terminal_is_a_question_mark_and_the_rest_stays():
    assert plain("naïve \x1b[31mred\x07\r\nnext\u202eend") == "naïve ?[31mred???next?end"
    assert findings.plain is plain
