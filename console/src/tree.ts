// Region → unit → camera, with counts of who is online; the rows of it that stand open; and the ways through them.
import { CameraState, type Camera } from "./gen/vidhub/v1/camera_pb";
import type { CameraCount } from "./gen/vidhub/v1/camera_service_pb";

/** Cameras of one unit in one region, as far as they were read. */
export interface Branch {
  region: string;
  unit: string;
  /** In order. */
  ids: string[];
  /** Of the next page; empty once all were read. */
  next: string;
  isBusy: boolean;
  isBegun: boolean;
}

export function branchKey(region: string, unit: string): string {
  return `region/${region}/unit/${unit}`;
}

/** Region and unit that a key stands for; unit is empty for a region's. */
export function partsOf(key: string): { region: string; unit: string } {
  const [, region = "", unit = ""] = /^region\/([^/]*)(?:\/unit\/(.*))?$/.exec(key) ?? [];
  return { region, unit };
}

export interface Node {
  /** "region/360602", "region/360602/unit/u1" or the camera's id. */
  key: string;
  label: string;
  camera?: Camera;
  online: number;
  total: number;
  children?: Node[];
  /** Stands for the cameras of this branch that were not read yet. */
  rest?: Branch;
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

/** The same out of what the hub counted, with the cameras that were read. */
export function countedTree(
  regions: readonly CameraCount[],
  units: ReadonlyMap<string, readonly CameraCount[]>,
  branches: ReadonlyMap<string, Branch>,
  camera: (id: string) => Camera | undefined,
): Node[] {
  const numbers = (count: CameraCount): { label: string; online: number; total: number } => ({
    label: count.name || count.key,
    online: Number(count.states.find(({ state }) => state === CameraState.ONLINE)?.cameras ?? 0),
    total: Number(count.cameras),
  });
  return regions.map((region) => ({
    key: `region/${region.key}`,
    ...numbers(region),
    children: [...(units.get(region.key) ?? [])]
      .map((unit) => ({
        key: branchKey(region.key, unit.key),
        ...numbers(unit),
        children: leaves(branches.get(branchKey(region.key, unit.key)), camera),
      }))
      .sort((a, b) => a.label.localeCompare(b.label, "zh-CN")),
  }));
}

function leaves(branch: Branch | undefined, camera: (id: string) => Camera | undefined): Node[] {
  if (!branch) return [];
  const read = branch.ids.flatMap((id) => {
    const found = camera(id);
    return found ? [{ key: id, label: found.name, camera: found, online: 0, total: 1 }] : [];
  });
  const key = `${branchKey(branch.region, branch.unit)}/rest`;
  return branch.next || !branch.isBegun ? [...read, { key, label: "", online: 0, total: 0, rest: branch }] : read;
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
