"""Templates against Prometheus: a corpus whose texts promtool confirmed, and promtool itself where it is installed."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from engine.templates import compile_go_template
from tests.templates.promtool import (
    EXTERNAL_LABELS,
    EXTERNAL_URL,
    PROMTOOL,
    Case,
    labels_of,
    read_cases,
    run_promtool,
)

CASES = read_cases(Path(__file__).parent / "corpus.jsonl")
FAILED = "<error>"  # the wording of Go's failures is theirs; that it fails is compared

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: apt-get install prometheus")


def answer(expr: str) -> Sequence[tuple[Mapping[str, str], float]]:
    """What the queries of the corpus find: cases by their number."""
    if expr == "nothing":
        return []
    selector = re.fullmatch(r'm\{case=~?"([^"]*)"\}', expr)
    if selector is None:
        raise ValueError("parse error")
    return [(labels_of(CASES[int(n)], int(n)), float(CASES[int(n)].value)) for n in selector[1].split("|")]


def rendered(case: Case, number: int) -> str:
    template = compile_go_template(case.template)
    labels = labels_of(case, number)
    return template.render(labels, float(case.value), EXTERNAL_LABELS, external_url=EXTERNAL_URL, query=answer)


@pytest.mark.parametrize("number", range(len(CASES)))
def test_the_text_is_prometheus_text(number: int) -> None:
    case = CASES[number]
    ours = rendered(case, number)
    if case.says == FAILED:
        assert ours.startswith("<error expanding template: ")
    else:
        assert ours == case.says


@needs_promtool
def test_promtool_confirms_the_corpus(tmp_path: Path) -> None:
    otherwise = run_promtool(tmp_path, CASES)
    assert {number: text for number, text in otherwise.items() if not text.startswith("<error ")} == {}
    assert set(otherwise) == {number for number, case in enumerate(CASES) if case.says == FAILED}


NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(10**7), 10**7).map(float)
FLAGS = st.sampled_from(["", "-", "+", " ", "0", "+0", "-0", " 0"])
WIDTHS = st.sampled_from(["", "1", "6", "12"])
PRECISIONS = st.sampled_from(["", ".", ".0", ".1", ".3", ".10"])
VERBS = st.builds(
    "%{}{}{}{}".format, FLAGS, WIDTHS, PRECISIONS, st.sampled_from("vefgEGdsqtxc" + "v" * 3 + "f" * 3 + "g" * 3)
)
TEXTS = st.text(alphabet=st.sampled_from("aZ09 .:-_/'é\\"), max_size=12)


@st.composite
def _cases(draw: st.DrawFn) -> Case:
    # Hexadecimal floats are not supported; a control character is shown as an escape.
    verb = draw(VERBS.filter(lambda verb: verb[-1] != "x"))
    value = repr(draw(NUMBERS)).replace("inf", "Inf").replace("nan", "NaN")
    value = value if value[0] in "-N" else f"+{value}" if value == "Inf" else value
    parts = [
        f'[{{{{ printf "{verb}" $value }}}}]',
        f'[{{{{ printf "{draw(VERBS)}" $labels.t }}}}]',
        f'[{{{{ printf "{draw(VERBS.filter(lambda verb: verb[-1] != "c"))}" {draw(st.integers(-1000, 1000))} }}}}]',
        "[{{ humanize $value }}{{ humanize1024 $value }}]",
        "[{{ humanizeDuration $value }} {{ humanizePercentage $value }}]",
        "[{{ $labels.t | stripPort }}{{ toUpper $labels.t }}{{ $labels.t | urlquery }}]",
    ]
    return Case("".join(parts), value, {"t": draw(TEXTS) or "x"})


@needs_promtool
@pytest.mark.slow
@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # each case stands for itself: the message names the few that differ
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(_cases(), min_size=40, max_size=60))
def test_generated_templates_agree_with_promtool(tmp_path: Path, cases: list[Case]) -> None:
    expected = [case._replace(says=rendered(case, number)) for number, case in enumerate(cases)]
    assert run_promtool(tmp_path, expected) == {}
