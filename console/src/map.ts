// The map itself: outlines of the districts, cameras in clusters with the colour of the worst of them. It knows MapLibre and
// no camera but by its place in the points.
import { Map as LibreMap, NavigationControl, setWorkerUrl, type GeoJSONSource, type StyleSpecification } from "maplibre-gl";
import "maplibre-gl/dist/maplibre-gl.css";
import workerUrl from "maplibre-gl/dist/maplibre-gl-worker.mjs?worker&url";

import type { Position } from "./datum";
import { boxOf, features, RANKS, type Box, type Points, type Word } from "./points";

setWorkerUrl(workerUrl);

/** As the dots of the tree have them. */
export const COLOURS: Record<Word, string> = {
  online: "#3ecf8e",
  unknown: "#9fb0c3",
  stale: "#7f8fa3",
  quarantined: "#c58b2a",
  invalid: "#ffb648",
  refused: "#ff9d48",
  offline: "#ff7a7a",
};
/** From here on every camera stands for itself. */
const ALONE_FROM = 15;
const NEAREST = 19;
const ICON = 22;

export interface Words {
  title: string;
  zoomIn: string;
  zoomOut: string;
}

export interface MapEvents {
  /** A camera was clicked: its place in the points. */
  onCamera(place: number): void;
  /** A box was drawn. */
  onBox(box: Box): void;
  /** Another part is in view. */
  onView(box: Box): void;
}

export class CameraMap {
  private readonly map: LibreMap;
  private readonly ready: Promise<void>;
  private isRemoved = false;
  private frame: HTMLElement | undefined;
  private from: { x: number; y: number } | undefined;
  /** A drag draws a box in place of moving the map; also while the shift key is down. */
  isBoxing = false;

  constructor(
    private readonly box: HTMLElement,
    outlines: GeoJSON.FeatureCollection,
    words: Words,
    private readonly events: MapEvents,
  ) {
    this.map = new LibreMap({
      container: box,
      style: style(outlines),
      bounds: boundsOf(outlines),
      fitBoundsOptions: { padding: 28 },
      maxZoom: NEAREST,
      boxZoom: false,
      dragRotate: false,
      pitchWithRotate: false,
      attributionControl: false,
      locale: { "Map.Title": words.title, "NavigationControl.ZoomIn": words.zoomIn, "NavigationControl.ZoomOut": words.zoomOut },
    });
    this.map.touchZoomRotate.disableRotation();
    this.map.keyboard.disableRotation();
    this.map.addControl(new NavigationControl({ showCompass: false }), "top-right");
    this.ready = new Promise((resolve) => void this.map.once("load", () => resolve()));
    for (const word of RANKS) this.map.addImage(word, icon(word), { pixelRatio: 2 });
    this.map.on("moveend", () => this.events.onView(this.view()));
    this.map.on("click", (event) => void this.click(event.point));
    for (const layer of ["clusters", "cameras"]) {
      this.map.on("mouseenter", layer, () => (this.map.getCanvas().style.cursor = "pointer"));
      this.map.on("mouseleave", layer, () => (this.map.getCanvas().style.cursor = ""));
    }
    box.addEventListener("mousedown", this.begin, true);
    addEventListener("mousemove", this.draw);
    addEventListener("mouseup", this.end);
  }

  async show(points: Points): Promise<void> {
    await this.ready;
    if (this.isRemoved) return;
    (this.map.getSource("cameras") as GeoJSONSource).setData(features(points));
    this.events.onView(this.view());
  }

  /** Settled: everything that is to be seen is drawn. */
  idle(): Promise<void> {
    return new Promise((resolve) => void this.map.once("idle", () => resolve()));
  }

  view(): Box {
    const bounds = this.map.getBounds();
    return { west: bounds.getWest(), south: bounds.getSouth(), east: bounds.getEast(), north: bounds.getNorth() };
  }

  /** Where a position is in the page's own pixels. */
  at(position: Position): { x: number; y: number } {
    const { left, top } = this.box.getBoundingClientRect();
    const { x, y } = this.map.project(position);
    return { x: x + left, y: y + top };
  }

  remove(): void {
    this.isRemoved = true;
    removeEventListener("mousemove", this.draw);
    removeEventListener("mouseup", this.end);
    this.box.removeEventListener("mousedown", this.begin, true);
    this.map.remove();
  }

  private async click(point: { x: number; y: number }): Promise<void> {
    const [hit] = this.map.queryRenderedFeatures([point.x, point.y], { layers: ["clusters", "cameras"] });
    if (!hit) return;
    if (hit.layer.id === "cameras") return this.events.onCamera(Number(hit.properties.place));
    const source = this.map.getSource("cameras") as GeoJSONSource;
    const zoom = await source.getClusterExpansionZoom(Number(hit.properties.cluster_id));
    const [longitude, latitude] = (hit.geometry as GeoJSON.Point).coordinates as Position;
    this.map.easeTo({ center: [longitude, latitude], zoom: Math.min(zoom + 0.5, NEAREST) });
  }

  // A box is drawn over the map.

  private readonly begin = (event: MouseEvent): void => {
    const isOnMap = event.target === this.map.getCanvas();
    if (event.button || !isOnMap || !(this.isBoxing || event.shiftKey)) return;
    event.preventDefault();
    event.stopPropagation();
    this.from = this.inside(event);
    this.frame = document.createElement("div");
    this.frame.className = "map-box";
    this.box.append(this.frame);
  };

  private readonly draw = (event: MouseEvent): void => {
    if (!this.from || !this.frame) return;
    const to = this.inside(event);
    Object.assign(this.frame.style, {
      left: `${Math.min(this.from.x, to.x)}px`,
      top: `${Math.min(this.from.y, to.y)}px`,
      width: `${Math.abs(this.from.x - to.x)}px`,
      height: `${Math.abs(this.from.y - to.y)}px`,
    });
  };

  private readonly end = (event: MouseEvent): void => {
    if (!this.from) return;
    const [one, other] = [this.from, this.inside(event)].map(({ x, y }) => this.map.unproject([x, y]).toArray());
    this.from = undefined;
    this.frame?.remove();
    this.events.onBox(boxOf(one as Position, other as Position));
  };

  private inside({ clientX, clientY }: MouseEvent): { x: number; y: number } {
    const { left, top } = this.box.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top };
  }
}

/** Whether this computer draws maps. */
export function canDraw(): boolean {
  return !!document.createElement("canvas").getContext("webgl2");
}

function boundsOf(outlines: GeoJSON.FeatureCollection): [number, number, number, number] {
  const bounds: [number, number, number, number] = [180, 90, -180, -90];
  const visit = (part: unknown): void => {
    if (!Array.isArray(part)) return;
    if (typeof part[0] !== "number") return part.forEach(visit);
    const [east, north] = part as Position;
    bounds[0] = Math.min(bounds[0], east);
    bounds[1] = Math.min(bounds[1], north);
    bounds[2] = Math.max(bounds[2], east);
    bounds[3] = Math.max(bounds[3], north);
  };
  outlines.features.forEach(({ geometry }) => "coordinates" in geometry && visit(geometry.coordinates));
  return bounds[0] < bounds[2] ? bounds : [73, 18, 135, 54];
}

function style(outlines: GeoJSON.FeatureCollection): StyleSpecification {
  const centres: GeoJSON.FeatureCollection = {
    type: "FeatureCollection",
    features: outlines.features.flatMap(({ properties }) =>
      Array.isArray(properties?.center)
        ? [{ type: "Feature" as const, properties, geometry: { type: "Point" as const, coordinates: properties.center } }]
        : [],
    ),
  };
  const byRank = ["match", ["get", "worst"], ...RANKS.flatMap((word, rank) => [rank, COLOURS[word]]), COLOURS.unknown];
  return {
    version: 8,
    // Without `glyphs` the fonts of this computer are drawn: nothing is fetched.
    sources: {
      outlines: { type: "geojson", data: outlines },
      names: { type: "geojson", data: centres },
      cameras: {
        type: "geojson",
        data: { type: "FeatureCollection", features: [] },
        cluster: true,
        clusterRadius: 46,
        clusterMaxZoom: ALONE_FROM,
        clusterProperties: { worst: ["max", ["get", "rank"]] },
      },
    },
    layers: [
      { id: "ground", type: "background", paint: { "background-color": "#0b1017" } },
      { id: "areas", type: "fill", source: "outlines", paint: { "fill-color": "#152131" } },
      { id: "borders", type: "line", source: "outlines", paint: { "line-color": "#4d678a", "line-width": 1.5 } },
      {
        id: "names",
        type: "symbol",
        source: "names",
        layout: { "text-field": ["get", "name"], "text-size": 17, "text-font": ["sans-serif"], "text-letter-spacing": 0.15 },
        paint: { "text-color": "#8aa0bb", "text-halo-color": "#0b1017", "text-halo-width": 1.5 },
      },
      {
        id: "clusters",
        type: "circle",
        source: "cameras",
        filter: ["has", "point_count"],
        paint: {
          "circle-color": "#111925",
          "circle-radius": ["interpolate", ["linear"], ["log10", ["get", "point_count"]], 0.3, 15, 2, 20, 5, 36],
          "circle-stroke-width": 4,
          "circle-stroke-color": byRank as never,
        },
      },
      {
        id: "counts",
        type: "symbol",
        source: "cameras",
        filter: ["has", "point_count"],
        layout: { "text-field": ["get", "point_count_abbreviated"], "text-size": 13, "text-font": ["sans-serif"], "text-allow-overlap": true },
        paint: { "text-color": "#ffffff" },
      },
      {
        id: "cameras",
        type: "symbol",
        source: "cameras",
        filter: ["!", ["has", "point_count"]],
        layout: {
          "icon-image": ["match", ["get", "rank"], ...RANKS.flatMap((word, rank) => [rank, word]), "unknown"] as never,
          "icon-allow-overlap": true,
          "symbol-sort-key": ["get", "rank"],
        },
      },
    ],
  };
}

/** The shapes of the tree's dots: never the colour alone. */
function icon(word: Word): ImageData {
  const canvas = Object.assign(document.createElement("canvas"), { width: 2 * ICON, height: 2 * ICON });
  const brush = canvas.getContext("2d")!;
  brush.translate(ICON, ICON);
  const corners: Partial<Record<Word, [number, number][]>> = {
    offline: [[-12, -12], [12, -12], [12, 12], [-12, 12]],
    quarantined: [[-12, -12], [12, -12], [12, 12], [-12, 12]],
    refused: [[0, -15], [15, 12], [-15, 12]],
    invalid: [[0, -16], [16, 0], [0, 16], [-16, 0]],
  };
  brush.beginPath();
  const shape = corners[word];
  if (shape) shape.forEach(([x, y]) => brush.lineTo(x, y));
  else brush.arc(0, 0, 13, 0, 2 * Math.PI);
  brush.closePath();
  const isHollow = ["unknown", "stale", "quarantined"].includes(word);
  brush.lineWidth = isHollow ? 6 : 3;
  if (word === "stale") brush.setLineDash([7, 5]);
  brush.fillStyle = isHollow ? "#0b1017" : COLOURS[word];
  brush.strokeStyle = isHollow ? COLOURS[word] : "#0b1017";
  brush.fill();
  brush.stroke();
  return brush.getImageData(0, 0, 2 * ICON, 2 * ICON);
}
