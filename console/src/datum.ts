// Positions on the map: the hub knows WGS-84 degrees, a city's own layer may be drawn in GCJ-02. Converted here alone.

export type Datum = "WGS-84" | "GCJ-02";

/** [longitude, latitude] in degrees. */
export type Position = [number, number];

/** Krasovsky 1940, on which GCJ-02 is computed: metres, and the first eccentricity squared. */
const AXIS = 6_378_245;
const ECCENTRICITY = 0.006_693_421_622_965_943;

/** What a layer says of itself: "GCJ-02 …" is that; all else (CGCS2000 differs by centimetres) is WGS-84. */
export function datumOf(words: string): Datum {
  return /^\s*GCJ-?02/i.test(words) ? "GCJ-02" : "WGS-84";
}

/** A position of the hub as the layer has it. */
export function onLayer([longitude, latitude]: Position, datum: Datum): Position {
  if (datum === "WGS-84" || !isInChina(longitude, latitude)) return [longitude, latitude];
  const [east, north] = shift(longitude, latitude);
  return [longitude + east, latitude + north];
}

/** A position of the layer as the hub has it, to about a centimetre. */
export function offLayer([longitude, latitude]: Position, datum: Datum): Position {
  let found: Position = [longitude, latitude];
  if (datum === "WGS-84") return found;
  for (let round = 0; round < 4; round += 1) {
    const [east, north] = onLayer(found, datum);
    found = [found[0] + longitude - east, found[1] + latitude - north];
  }
  return found;
}

/** Outside the mainland's box the datum moves nothing. */
function isInChina(longitude: number, latitude: number): boolean {
  return longitude >= 72.004 && longitude <= 137.8347 && latitude >= 0.8293 && latitude <= 55.8271;
}

/** Degrees by which GCJ-02 moves a place east and north: the formula in general use, published as open source since 2010. */
function shift(longitude: number, latitude: number): Position {
  const [x, y] = [longitude - 105, latitude - 35];
  const wave = (period: number, value: number): number => Math.sin((value / period) * Math.PI);
  const common = (20 * wave(1 / 6, x) + 20 * wave(1 / 2, x)) * (2 / 3);
  const north =
    -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * Math.sqrt(Math.abs(x)) + common +
    (20 * wave(1, y) + 40 * wave(3, y) + 160 * wave(12, y) + 320 * wave(30, y)) * (2 / 3);
  const east =
    300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * Math.sqrt(Math.abs(x)) + common +
    (20 * wave(1, x) + 40 * wave(3, x) + 150 * wave(12, x) + 300 * wave(30, x)) * (2 / 3);
  const radians = (latitude / 180) * Math.PI;
  const curve = 1 - ECCENTRICITY * Math.sin(radians) ** 2;
  const root = Math.sqrt(curve);
  return [
    (east * 180) / ((AXIS / root) * Math.cos(radians) * Math.PI),
    (north * 180) / (((AXIS * (1 - ECCENTRICITY)) / (curve * root)) * Math.PI),
  ];
}
