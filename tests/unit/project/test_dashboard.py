"""The dashboard and the alerts that ship are well formed, and lead to what to do.

That the figures they name are told, tests/integration/shared/test_operators.py sees at a service at work.
"""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
import yaml

from tests.unit.project.tree import ROOT

DASHBOARD = json.loads((ROOT / "docker" / "grafana" / "dashboards" / "bouquet.json").read_text())
ALERTS = yaml.safe_load((ROOT / "docker" / "prometheus" / "alerts.yml").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
UNITS = {"none", "s", "bytes", "percentunit", "reqps", "cps", "bool_yes_no"}


def expressions() -> list[str]:
    queries = [target["expr"] for panel in PANELS for target in panel["targets"]]
    return queries + [rule["expr"] for rule in RULES]


def names_used() -> set[str]:
    """Every figure that the dashboard or an alert asks for."""
    return {name for text in expressions() for name in re.findall(r"\b(?:bouquet|process)_[a-z_]+", text)}


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_a_panel_has_what_it_needs(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["targets"]
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"]["uid"] == "${source}"
    assert all(target["legendFormat"] and target["datasource"] == panel["datasource"] for target in panel["targets"])
    # A rate over a window that the panel's width decides, or none at all.
    for target in panel["targets"]:
        assert all(window == "$__rate_interval" for window in re.findall(r"\[([^\]]+)\]", target["expr"]))


def test_panels_lie_side_by_side() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken = [
        (panel["id"], set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))))
        for panel in DASHBOARD["panels"]
        for at in [panel["gridPos"]]
    ]
    assert all(x < 24 for _, cells in taken for x, _ in cells)
    assert [(one, other) for (one, a), (other, b) in itertools.combinations(taken, 2) if a & b] == []


def test_the_source_can_be_chosen() -> None:
    assert [variable["type"] for variable in DASHBOARD["templating"]["list"]] == ["datasource"]


@pytest.mark.parametrize("text", expressions())
def test_a_query_is_well_formed(text: str) -> None:
    for opening, closing in ("()", "[]", "{}"):
        assert text.count(opening) == text.count(closing)
    # What all front ends tell alike is not added up over them.
    shared = re.findall(
        r"(?:^|[^_a-z(] ?)sum(?: by \([a-z, ]+\))? ?\((?:rate\()?(bouquet_(?:worker|queue|running)_\w+)", text
    )
    assert shared == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_leads_to_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "warn")
    assert rule["annotations"]["summary"]
    page, _, section = rule["annotations"]["runbook"].partition("#")
    titles = re.findall(r"(?m)^#+ (.+)$", (ROOT / page).read_text())
    assert section in {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
