// Region → unit → camera, with counts of who is online; the rows of it that stand open; and the ways through them.
import { CameraState, type Camera } from "./gen/vidhub/v1/camera_pb";

export interface Node {
  /** "region/360602", "region/360602/unit/u1" or the camera's id. */
  key: string;
  label: string;
  camera?: Camera;
  online: number;
  total: number;
  children?: Node[];
}

/** A node as it is shown, with its place among its sisters for screen readers. */
export interface Row {
  node: Node;
  level: number;
  position: number;
  size: number;
  /** Undefined for what has nothing below it. */
  isOpen?: boolean;
}

/** Word of the state, as in the dictionaries. */
export function stateWord(camera: Camera): string {
  if (camera.stale) return "stale";
  return (CameraState[camera.state] ?? "UNKNOWN").toLowerCase().replace("unspecified", "unknown");
}

export function buildTree(cameras: Iterable<Camera>): Node[] {
  const regions = new Map<string, Node & { units: Map<string, Node> }>();
  for (const camera of cameras) {
    const region = regions.get(camera.regionCode) ?? {
      key: `region/${camera.regionCode}`,
      label: camera.regionName || camera.regionCode,
      online: 0,
      total: 0,
      units: new Map<string, Node>(),
    };
    regions.set(camera.regionCode, region);
    const unit = region.units.get(camera.unitId) ?? {
      key: `${region.key}/unit/${camera.unitId}`,
      label: camera.unitName || camera.unitId,
      online: 0,
      total: 0,
      children: [],
    };
    region.units.set(camera.unitId, unit);
    const online = camera.state === CameraState.ONLINE && !camera.stale ? 1 : 0;
    unit.children!.push({ key: camera.id, label: camera.name, camera, online, total: 1 });
    for (const node of [unit, region]) {
      node.online += online;
      node.total += 1;
    }
  }
  return [...regions.values()]
    .sort((a, b) => byCode(a.key, b.key))
    .map(({ units, ...region }) => ({
      ...region,
      children: [...units.values()]
        .sort((a, b) => a.label.localeCompare(b.label, "zh-CN"))
        .map((unit) => ({ ...unit, children: unit.children!.sort((a, b) => byCode(a.key, b.key)) })),
    }));
}

/** Codes are digits: the plain order is right, and a hundred times faster than a language's. */
function byCode(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export function openRows(nodes: readonly Node[], isOpen: (key: string) => boolean, level = 1): Row[] {
  const rows: Row[] = [];
  const visit = (sisters: readonly Node[], depth: number): void => {
    sisters.forEach((node, index) => {
      const row: Row = { node, level: depth, position: index + 1, size: sisters.length };
      rows.push(row);
      if (!node.children) return;
      row.isOpen = isOpen(node.key);
      if (row.isOpen) visit(node.children, depth + 1);
    });
  };
  visit(nodes, level);
  return rows;
}

export type Step = { focus: number } | { toggle: string } | undefined;

/** Where a key leads from the row `at`, as the ARIA pattern for trees says. `page`: rows that are seen at once. */
export function step(rows: readonly Row[], at: number, key: string, page: number): Step {
  const row = rows[at];
  const last = rows.length - 1;
  if (!row) return rows.length ? { focus: 0 } : undefined;
  switch (key) {
    case "ArrowDown":
      return { focus: Math.min(at + 1, last) };
    case "ArrowUp":
      return { focus: Math.max(at - 1, 0) };
    case "PageDown":
      return { focus: Math.min(at + page, last) };
    case "PageUp":
      return { focus: Math.max(at - page, 0) };
    case "Home":
      return { focus: 0 };
    case "End":
      return { focus: last };
    case "ArrowRight":
      if (row.isOpen === undefined) return undefined;
      return row.isOpen ? { focus: Math.min(at + 1, last) } : { toggle: row.node.key };
    case "ArrowLeft":
      if (row.isOpen) return { toggle: row.node.key };
      for (let above = at - 1; above >= 0; above -= 1) if (rows[above]!.level < row.level) return { focus: above };
      return undefined;
    default:
      return undefined;
  }
}
