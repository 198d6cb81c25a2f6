from collections.abc import Sequence
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesynth.records import Genome
from edgesynth.report import anatomy
from edgesynth.report.curves import Reference, Series, curves
from edgesynth.report.labels import Label, Rectangle, place
from edgesynth.report.learning import learning_charts
from edgesynth.report.scatter import Line, Point, scatter
from edgesynth.report.svg import element
from edgesynth.report.trade_offs import trade_off_charts
from tests.report.made_up import asked_again, changed, made_up_run, wide_run


def drawn(points: Sequence[Point], lines: Sequence[Line] = (), *, log_x: bool = True) -> ElementTree.Element:
    return ElementTree.fromstring(
        scatter(
            points,
            lines,
            title="t",
            description="d",
            x_title="x",
            y_title="y",
            x_label=str,
            y_label=str,
            log_x=log_x,
        )
    )


def point(name: str, x: float, y: float) -> Point:
    return Point(name, "met", x, y, f"{name} here")


def texts(chart: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in chart.iter("text")]


def test_text_in_svg_is_escaped() -> None:
    assert element("text", "<script>&", x=1.5, class_="a") == '<text x="1.5" class="a">&lt;script&gt;&amp;</text>'


def test_nested_elements_are_not_escaped_twice() -> None:
    assert element("g", element("text", "a & b")) == "<g><text>a &amp; b</text></g>"


def test_attribute_values_are_escaped() -> None:
    assert element("g", class_='"><script>') == '<g class="&#34;&gt;&lt;script&gt;"></g>'


def test_every_chart_is_well_formed_and_says_what_it_shows() -> None:
    run = made_up_run()
    for figure in [*trade_off_charts(run), *learning_charts(run)]:
        svg = ElementTree.fromstring(figure.chart)
        assert svg.findtext("title")
        assert svg.findtext("desc")
        assert svg.get("role") == "img"


def test_every_mark_has_a_tooltip_and_a_name() -> None:
    chart = drawn([point("one", 1e6, 90), point("two", 2e7, 93)])
    assert [mark.findtext("title") for mark in chart.iter("g") if "point" in mark.get("class", "")] == [
        "one here",
        "two here",
    ]
    assert {"one", "two"} <= set(texts(chart))


def test_a_mark_says_what_its_network_was_asked_for() -> None:
    against_macs = ElementTree.fromstring(trade_off_charts(asked_again())[0].chart)
    tips = {(tip or "").split(":")[0]: tip or "" for tip in (g.findtext("title") for g in against_macs.iter("g"))}
    assert tips["fermi-001"].endswith("; meets all requirements")
    assert tips["fermi-002"].endswith("; does not meet all requirements")
    assert tips["fermi-005"].endswith("; meets macs<=prototype/16")


def test_a_bound_that_is_far_off_is_named_not_drawn() -> None:
    points = [point("one", 1e6, 90), point("two", 4e6, 93)]
    near = drawn(points, [Line("x", "less", 3e6, "near")])
    far = drawn(points, [Line("x", "less", 9e11, "far"), Line("y", "more", 10, "low")])
    assert any(line.get("class") == "bound" for line in near.iter("line"))
    assert not any(line.get("class") == "bound" for line in far.iter("line"))
    assert {"off the chart: far", "off the chart: low"} <= set(texts(far))


def test_the_allowed_part_is_where_all_bounds_hold() -> None:
    points = [point("one", 10, 90), point("two", 30, 94)]
    chart = drawn(points, [Line("x", "less", 20, "x"), Line("y", "more", 92, "y")], log_x=False)
    (allowed,) = (rect for rect in chart.iter("rect") if rect.get("class") == "allowed")
    upright, level = (line for line in chart.iter("line") if line.get("class") == "bound")
    right = float(allowed.get("x", 0)) + float(allowed.get("width", 0))
    bottom = float(allowed.get("y", 0)) + float(allowed.get("height", 0))
    assert right == pytest.approx(float(upright.get("x1", 0)), abs=0.02)
    assert bottom == pytest.approx(float(level.get("y1", 0)), abs=0.02)


def test_bounds_that_exclude_each_other_allow_nothing() -> None:
    lines = [Line("x", "less", 15, "a"), Line("x", "more", 25, "b")]
    chart = drawn([point("one", 10, 90), point("two", 30, 94)], lines, log_x=False)
    assert not any(rect.get("class") == "allowed" for rect in chart.iter("rect"))


@pytest.mark.parametrize(
    ("line", "tinted"),
    [
        (Line("x", "less", 1e3, "far left"), False),
        (Line("x", "more", 1e3, "far left"), True),
        (Line("x", "less", 0, "below the axis"), False),
        (Line("y", "more", 1e4, "far up"), False),
        (Line("y", "less", 1e4, "far up"), True),
    ],
)
def test_a_bound_off_the_chart_still_forbids(line: Line, tinted: bool) -> None:
    chart = drawn([point("one", 1e9, 90), point("two", 2e9, 94)], [line])
    assert f"off the chart: {line.label}" in texts(chart)
    assert any(rect.get("class") == "allowed" for rect in chart.iter("rect")) is tinted


@pytest.mark.parametrize("log_x", [True, False])
def test_marks_that_cannot_be_placed_are_left_out(log_x: bool) -> None:
    chart = drawn([point("nan", float("nan"), 90), point("inf", 1, float("inf"))], log_x=log_x)
    assert "nan" not in texts(chart)


places = st.tuples(st.floats(1, 1e9), st.floats(0, 100))


@given(st.lists(places, max_size=30), st.booleans())
def test_any_marks_give_a_well_formed_chart_inside_its_frame(at: list[tuple[float, float]], log_x: bool) -> None:
    chart = drawn([point(f"net-{index}", x, y) for index, (x, y) in enumerate(at)], log_x=log_x)
    _, _, width, height = map(float, chart.get("viewBox", "").split())
    for circle in chart.iter("circle"):
        assert 0 < float(circle.get("cx", -1)) < width
        assert 0 < float(circle.get("cy", -1)) < height


@given(st.lists(places, min_size=2, max_size=12))
def test_names_do_not_touch(at: list[tuple[float, float]]) -> None:
    chart = drawn([point(f"net-{index}", x, y) for index, (x, y) in enumerate(at)])
    boxes = [
        Label(text.text or "", float(text.get("x", 0)), float(text.get("y", 0)), text.get("text-anchor", "")).box  # type: ignore[arg-type]
        for text in chart.iter("text")
        if "name" in text.get("class", "")
    ]
    shrunk = [Rectangle(box.left + 0.1, box.top + 0.1, box.right - 0.1, box.bottom - 0.1) for box in boxes]
    assert not any(a.touches(b) for index, a in enumerate(shrunk) for b in shrunk[:index])


def test_a_label_takes_the_first_free_place() -> None:
    frame = Rectangle(0, 0, 200, 100)
    one, two = Label("a", 50, 50, "start"), Label("a", 120, 50, "start")
    assert place([one, two], frame, []) == one
    assert place([one, two], frame, [one.box]) == two
    assert place([one], frame, [frame]) is None
    assert place([Label("far too long a name for this frame", 100, 50, "start")], frame, []) is None


def learned(values: Sequence[float | None], **options: object) -> ElementTree.Element:
    cycles = range(1, len(values) + 1)
    chart = curves(cycles, [Series("s", values)], title="t", description="d", label=str, **options)  # type: ignore[arg-type]
    return ElementTree.fromstring(chart)


def test_a_gap_splits_the_line() -> None:
    chart = learned([1, 2, None, 3, 4])
    assert len(list(chart.iter("polyline"))) == 2


def test_a_lone_value_is_a_dot() -> None:
    chart = learned([None, 2.0, None])
    assert not list(chart.iter("polyline"))
    assert len(list(chart.iter("circle"))) == 1


def test_many_cycles_are_a_line_without_dots() -> None:
    chart = learned([float(value) for value in range(500)])
    assert not list(chart.iter("circle"))


@given(st.lists(st.none() | st.floats(), max_size=60))
def test_any_values_give_a_well_formed_chart(values: list[float | None]) -> None:
    chart = learned(values, references=[Reference(0.0, "level")])
    assert "nan" not in ElementTree.tostring(chart, "unicode").replace("s nan", "")


def test_a_group_is_dropped_only_with_all_its_layers() -> None:
    prototype = made_up_run().prototype
    blocks = {block.name: block.name != "layer1.1" for block in prototype.blocks}
    groups = anatomy.groups_of(prototype, Genome(widths={"conv1": 8}, blocks=blocks))
    by_name = {group.name: group for group in groups}
    assert by_name["layer1.1.conv1"].dropped
    assert by_name["layer1.1.conv1"].kept == 0
    assert not by_name["conv1"].dropped  # layer1.1.conv2 is one of its layers, and the others stay
    assert by_name["conv1"].share == 0.5
    assert by_name["layer1.0.conv1"].kept is None  # the genome does not say


def test_sixty_groups_fit() -> None:
    run = wide_run(60)
    groups = anatomy.groups_of(run.prototype, run.networks[0].genome)
    svg = ElementTree.fromstring(anatomy.silhouette("x", groups))
    assert len(list(svg.iter("rect"))) == 120
    assert svg.get("viewBox") == "0 0 600 84"


def test_joules_that_nobody_knows_are_no_chart() -> None:
    run = made_up_run()
    networks = [network.model_copy(update={"measurements": network.measurements[:1]}) for network in run.networks]
    prototype = run.prototype.model_copy(update={"measurements": run.prototype.measurements[:1]})
    assert len(trade_off_charts(changed(run, prototype=prototype, networks=networks))) == 1
