"""Industry codes of GB/T 28181-2022 (digits 9 and 10 of a device id): 00 to 14 its own, 40 to 59 after GB/T 4754."""

from __future__ import annotations

_TEXT = (
    "00社会治安路面接入 01社会治安社区接入 02社会治安内部接入 03社会治安其他接入 04交通路面接入 "
    "05交通卡口接入 06交通内部接入 07交通其他接入 08城市管理接入 09卫生环保接入 10商检海关接入 "
    "11教育部门接入 12民航接入 13铁路接入 14航运接入 40农林牧渔业 41采矿业 42制造业 "
    "43电力热力燃气及水生产和供应业 44建筑业 45批发和零售业 46交通运输仓储和邮政业 47住宿和餐饮业 "
    "48信息传输软件和信息技术服务业 49金融业 50房地产业 51租赁和商务服务业 52科学研究和技术服务业 "
    "53水利环境和公共设施管理业 54居民服务修理和其他服务业 55教育 56卫生和社会工作 57文化体育和娱乐业 "
    "58公共管理社会保障和社会组织 59国际组织"
)

INDUSTRIES: dict[str, str] = {word[:2]: word[2:] for word in _TEXT.split()}
INDUSTRIES |= {str(code): f"自用{code}" for code in range(90, 100)}


def knows(code: str) -> bool:
    return code in INDUSTRIES
