"""The demo's hubs, units and cameras: names of Yingtan, places and coordinates invented near the real ones."""

from __future__ import annotations

from dataclasses import dataclass

_HEADER = (
    "name,region_code,industry,place_category,location.latitude,location.longitude,main.url,main.transport,"
    "legal.place_basis,legal.purpose,legal.scope,legal.retention_days,legal.signage_text,legal.signage_date"
)


@dataclass(frozen=True, slots=True)
class DemoUnit:
    name: str
    region: str
    industry: str
    place: str
    purpose: str
    # (name, latitude, longitude)
    cameras: tuple[tuple[str, float, float], ...]

    def csv(self, urls: list[str], number: int) -> str:
        """Its table of cameras. urls: of the simulated ones, used in turn from `number` on."""
        lines = [_HEADER]
        for place, (name, latitude, longitude) in enumerate(self.cameras):
            url = urls[(number + place) % len(urls)]
            lines.append(
                f"{name},{self.region},{self.industry},{self.place},{latitude},{longitude},{url},tcp,"
                f"公共安全视频图像信息系统管理条例第七条,{self.purpose},出入口及公共区域,30,"
                f"您已进入公共视频采集区域,2025-04-01"
            )
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class DemoHub:
    id: str
    name: str
    level: str
    region: str
    address: str
    units: tuple[DemoUnit, ...]


CITY = DemoHub(
    "yingtan", "鹰潭市", "city", "360600", "127.0.0.1",
    (
        # Guixi has no hub of its own here: its hospital is connected to the city's.
        DemoUnit(
            "贵溪市人民医院", "360681", "09", "hospital", "医院公共区域安全",
            (("门诊楼入口", 28.2925, 117.2411), ("急诊通道", 28.2931, 117.2420)),
        ),
    ),
)  # fmt: skip
LOWER = (
    DemoHub(
        "yuehu", "月湖区", "district", "360602", "127.0.0.2",
        (
            DemoUnit(
                "鹰潭市公安局月湖分局", "360602", "00", "road", "治安防控",
                (
                    ("胜利西路与站江路口", 28.2402, 117.0213),
                    ("鹰潭站前广场东", 28.2391, 117.0285),
                    ("沿江路江滨公园", 28.2467, 117.0302),
                ),
            ),
        ),
    ),
    DemoHub(
        "yujiang", "余江区", "district", "360603", "127.0.0.3",
        (
            DemoUnit(
                "余江区第一中学", "360603", "11", "school", "校园安全",
                (("东校门", 28.2101, 116.8186), ("西校门", 28.2099, 116.8151), ("校前路公交站", 28.2094, 116.8190)),
            ),
        ),
    ),
    DemoHub(
        "gaoxin", "鹰潭高新技术产业开发区", "zone", "360691", "127.0.0.4",
        (
            DemoUnit(
                "高新区管理委员会", "360691", "00", "government", "园区公共安全",
                (("管委会广场", 28.2163, 117.0561), ("智联大道北口", 28.2204, 117.0589)),
            ),
        ),
    ),
)  # fmt: skip
HUBS = (CITY, *LOWER)
