// Region → unit → camera, with counts of who is online; and the search over it.
import { CameraState, type Camera } from "./gen/vidhub/v1/camera_pb";

export interface Node {
  /** "region/360602", "unit/u1" or the camera's id. */
  key: string;
  label: string;
  camera?: Camera;
  online: number;
  total: number;
  children?: Node[];
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
    .sort((a, b) => a.key.localeCompare(b.key))
    .map(({ units, ...region }) => ({
      ...region,
      children: [...units.values()]
        .sort((a, b) => a.label.localeCompare(b.label, "zh-CN"))
        .map((unit) => ({ ...unit, children: unit.children!.sort((a, b) => a.key.localeCompare(b.key)) })),
    }));
}
