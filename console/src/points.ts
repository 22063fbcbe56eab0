// Where the cameras are that this person may know of, and how: read in columns, held in arrays, drawn by the map.
import { call, cameras } from "./api";
import { onLayer, type Datum, type Position } from "./datum";
import { CameraState } from "./gen/vidhub/v1/camera_pb";

/** So many are drawn at most; the map says that there are more. */
export const MOST_POINTS = 200_000;

/** From the best to the worst: a cluster has the colour of its worst camera. The dictionaries' words. */
export const RANKS = ["online", "unknown", "stale", "quarantined", "invalid", "refused", "offline"] as const;
export type Word = (typeof RANKS)[number];

export interface Points {
  ids: string[];
  /** On the layer's datum. */
  positions: Position[];
  ranks: number[];
  /** All that there are, those beyond the bound too. */
  total: number;
}

const WORDS: Partial<Record<CameraState, Word>> = {
  [CameraState.ONLINE]: "online",
  [CameraState.OFFLINE]: "offline",
  [CameraState.REFUSED]: "refused",
  [CameraState.INVALID]: "invalid",
  [CameraState.QUARANTINED]: "quarantined",
};

export function rankOf(state: CameraState, isStale: boolean): number {
  return RANKS.indexOf(isStale ? "stale" : (WORDS[state] ?? "unknown"));
}

/** `onBegun` is given the first page while the others are on their way, where there are others. */
export async function readPoints(
  datum: Datum,
  signal: AbortSignal,
  onBegun?: (points: Points) => void,
): Promise<Points> {
  const points: Points = { ids: [], positions: [], ranks: [], total: 0 };
  let pageToken = "";
  do {
    const page = await call(() => cameras.listPoints({ pageToken }, { signal }));
    const stale = new Set(page.stale);
    page.ids.forEach((id, place) => {
      points.ids.push(id);
      points.positions.push(onLayer([page.longitudesE6[place]! / 1e6, page.latitudesE6[place]! / 1e6], datum));
      points.ranks.push(rankOf(page.states[place]!, stale.has(place)));
    });
    points.total = Number(page.totalSize);
    if (!pageToken && page.nextPageToken) {
      onBegun?.({ ...points, ids: [...points.ids], positions: [...points.positions], ranks: [...points.ranks] });
    }
    pageToken = page.nextPageToken;
  } while (pageToken && points.ids.length < MOST_POINTS);
  return points;
}

export interface Box {
  west: number;
  south: number;
  east: number;
  north: number;
}

export function boxOf(one: Position, other: Position): Box {
  return {
    west: Math.min(one[0], other[0]),
    south: Math.min(one[1], other[1]),
    east: Math.max(one[0], other[0]),
    north: Math.max(one[1], other[1]),
  };
}

/** Places in the arrays of those within. */
export function within({ positions }: Points, box: Box): number[] {
  const found: number[] = [];
  positions.forEach(([east, north], place) => {
    if (east >= box.west && east <= box.east && north >= box.south && north <= box.north) found.push(place);
  });
  return found;
}

/** For the map's worker: only what it draws by, the place in the arrays and the rank. */
export function features({ positions, ranks }: Points): GeoJSON.FeatureCollection {
  return {
    type: "FeatureCollection",
    features: positions.map((coordinates, place) => ({
      type: "Feature",
      properties: { place, rank: ranks[place] },
      geometry: { type: "Point", coordinates },
    })),
  };
}

/** Of all, in each state. */
export function countsOf({ ranks }: Points): Record<Word, number> {
  const counts = Object.fromEntries(RANKS.map((word) => [word, 0])) as Record<Word, number>;
  for (const rank of ranks) counts[RANKS[rank]!] += 1;
  return counts;
}
