"""Divisions (GB/T 2260) and the hub's own development zones."""

from __future__ import annotations

from sqlalchemy import Connection

from vidhub.model import Region

_PROVINCES = (
    "11北京市 12天津市 13河北省 14山西省 15内蒙古自治区 21辽宁省 22吉林省 23黑龙江省 31上海市 32江苏省 "
    "33浙江省 34安徽省 35福建省 36江西省 37山东省 41河南省 42湖北省 43湖南省 44广东省 45广西壮族自治区 "
    "46海南省 50重庆市 51四川省 52贵州省 53云南省 54西藏自治区 61陕西省 62甘肃省 63青海省 "
    "64宁夏回族自治区 65新疆维吾尔自治区 71台湾省 81香港特别行政区 82澳门特别行政区"
)
_JIANGXI = (
    "3601南昌市 3602景德镇市 3603萍乡市 3604九江市 3605新余市 3606鹰潭市 3607赣州市 3608吉安市 "
    "3609宜春市 3610抚州市 3611上饶市"
)
# GB/T 2260 has no codes for the development zones (Art. 50 of the regulation): 91 and up is ours, digits so that
# prefixes work, and far from what the standard has ever given a county-level city.
_YINGTAN = "360602月湖区 360603余江区 360681贵溪市 360691鹰潭高新技术产业开发区 360692龙虎山风景名胜区 360693信江新区"


def _parse(text: str, parent_digits: int) -> list[Region]:
    found = []
    for word in text.split():
        digits = "".join(c for c in word if c.isascii())
        parent = digits[:parent_digits].ljust(6, "0") if parent_digits else ""
        found.append(Region(digits.ljust(6, "0"), word[len(digits) :], parent))
    return found


SEED = (*_parse(_PROVINCES, 0), *_parse(_JIANGXI, 2), *_parse(_YINGTAN, 4))


def seed(conn: Connection) -> None:
    """Add what a newer release knows; names that people have changed stay."""
    conn.exec_driver_sql(
        "INSERT INTO regions (code, name, parent_code) VALUES (?, ?, ?) ON CONFLICT (code) DO NOTHING",
        [(r.code, r.name, r.parent_code) for r in SEED],
    )


def put(conn: Connection, region: Region) -> None:
    conn.exec_driver_sql(
        "INSERT INTO regions (code, name, parent_code) VALUES (?, ?, ?) "
        "ON CONFLICT (code) DO UPDATE SET name = excluded.name, parent_code = excluded.parent_code",
        (region.code, region.name, region.parent_code),
    )


def load(conn: Connection) -> list[Region]:
    rows = conn.exec_driver_sql("SELECT code, name, parent_code FROM regions ORDER BY code")
    return [Region(r[0], r[1], r[2]) for r in rows]


class RegionTable:
    """Answers whether a code exists, in memory: registration asks it for each camera."""

    def __init__(self, regions: list[Region]) -> None:
        self._regions = {r.code: r for r in regions}
        self._provinces = {r.code[:2] for r in regions}
        self._listed = {r.code[:4] for r in regions if not r.code.endswith("00")}

    def get(self, code: str) -> Region | None:
        return self._regions.get(code)

    def name_of(self, code: str) -> str:
        """ "" for a code that the table does not list."""
        region = self._regions.get(code)
        return region.name if region else ""

    def knows(self, code: str) -> bool:
        """A listed code; or, where the table has no counties of a prefecture, any of a known province."""
        if code in self._regions:
            return True
        well_formed = len(code) == 6 and code.isascii() and code.isdigit()
        return well_formed and code[:2] in self._provinces and code[:4] not in self._listed
