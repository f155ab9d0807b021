"""Writes what Grafana reads: ``python -m deploy.grafana``. The tests say when it has not been run after a change."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.grafana.alerts import alerts_file
from deploy.grafana.dashboard import dashboard

ROOT = Path(__file__).parents[2]


def files() -> dict[Path, str]:
    """Every file that is made here, and what is to be in it."""
    return {
        ROOT / "grafana-dashboard.json": json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n",
        ROOT / "deploy/grafana/provisioning/alerting/aurea.yaml": alerts_file(),
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
