// Words of the pages with lists and forms; those that several share stand under "office".
import { en as adminEn, zh as adminZh } from "./admin";
import { en as auditEn, zh as auditZh } from "./audit";
import { en as eventsEn, zh as eventsZh } from "./events";
import { en as fieldsEn, zh as fieldsZh } from "./fields";
import { en as recordEn, zh as recordZh } from "./record";
import { en as sessionsEn, zh as sessionsZh } from "./sessions";
import { en as unitEn, zh as unitZh } from "./unit";

export const zh = {
  office: {
    reason: "原因",
    cancel: "取消",
    close: "关闭",
    loading: "正在加载…",
    empty: "没有记录",
    first: "首页",
    back: "上一页",
    forth: "下一页",
    page: "第 {number} 页",
    refresh: "刷新",
    search: "查询",
    acts: "操作",
  },
  ...adminZh,
  ...auditZh,
  ...eventsZh,
  ...fieldsZh,
  ...recordZh,
  ...sessionsZh,
  ...unitZh,
};

export const en = {
  office: {
    reason: "Reason",
    cancel: "Cancel",
    close: "Close",
    loading: "Loading…",
    empty: "Nothing here",
    first: "First page",
    back: "Back",
    forth: "Next",
    page: "Page {number}",
    refresh: "Refresh",
    search: "Search",
    acts: "Actions",
  },
  ...adminEn,
  ...auditEn,
  ...eventsEn,
  ...fieldsEn,
  ...recordEn,
  ...sessionsEn,
  ...unitEn,
};
