"""The console has a sentence, in Chinese and in English, for every rule that a record may break."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
RULES = ("rules", "oddities", "duplicates", "registration")


def test_each_rule_of_a_record_has_its_sentences():
    words = (ROOT / "console/src/words/record.ts").read_text(encoding="utf-8")
    texts = [(ROOT / f"python/vidhub/catalogue/{name}.py").read_text(encoding="utf-8") for name in RULES]
    reasons = {reason for text in texts for reason in re.findall(r'"([A-Z]+_[A-Z_]+)"', text)}
    assert len(reasons) > 25
    assert {reason for reason in reasons if len(re.findall(rf"\b{reason}:", words)) != 2} == set()
