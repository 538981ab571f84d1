"""Gates as JUnit XML, which every CI system shows: one test case for each gate and policy."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Final

from sim.experiment.comparison import Comparison
from sim.gates.judge import GateResult
from sim.report.paired_text import gate_words

_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(comparison: Comparison) -> str:
    """A failed gate is a failure. An undecided one is an error: CI must not take it for a pass."""
    suites = ET.Element("testsuites", name="rehearse")
    for policy in dict.fromkeys(each.policy for each in comparison.gates):
        own = [each for each in comparison.gates if each.policy == policy]
        suite = ET.SubElement(
            suites,
            "testsuite",
            name=_clean(f"{policy} against {comparison.baseline}"),
            tests=str(len(own)),
            failures=str(sum(each.outcome == "fail" for each in own)),
            errors=str(sum(each.outcome == "undecided" for each in own)),
        )
        for each in own:
            _case(suite, each)
    ET.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(suites, encoding="unicode")}\n'


def _case(suite: ET.Element, result: GateResult) -> None:
    case = ET.SubElement(suite, "testcase", classname=_clean(result.policy), name=_clean(result.gate))
    told = _clean(gate_words(result))
    if result.outcome == "fail":
        ET.SubElement(case, "failure", type="gate", message=told)
    elif result.outcome == "undecided":
        ET.SubElement(case, "error", type="undecided", message=told)
    ET.SubElement(case, "system-out").text = told


def _clean(text: str) -> str:
    """Without the letters that XML does not have."""
    return _NOT_XML.sub("\ufffd", text)
