"""Makes the Prometheus operator's k8s/components/prometheus/rule.yaml of ops/prometheus/vidhub.rules.yml."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
RULES = ROOT / "ops" / "prometheus" / "vidhub.rules.yml"
TARGET = ROOT / "k8s" / "components" / "prometheus" / "rule.yaml"
HEAD = """\
# Made of ops/prometheus/vidhub.rules.yml by tools/prometheus_rule.py.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: vidhub
spec:
"""


def made() -> str:
    """The whole text of `TARGET`."""
    rules = RULES.read_text(encoding="utf-8")
    groups = rules[rules.index("groups:") :]
    return HEAD + "".join(f"  {line}\n" if line else "\n" for line in groups.splitlines())


if __name__ == "__main__":
    TARGET.write_text(made(), encoding="utf-8")
