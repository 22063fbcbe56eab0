// Cameras out of a file: read in the browser, registered in batches, every bad row told by line, field, rule and remedy.
import type { Camera } from "./gen/vidhub/v1/camera_pb";
import { call, cameras } from "./api";
import { CsvError, rowsOf, type Row as Line } from "./csv";
import { cameraOf, FIELDS, fieldOf, pathOf, type Misfit, type Texts } from "./record";
import type { Trouble } from "./workbook";

/** Bounds of one file. A larger one is for `vidhub camera register`. */
export const MOST_BYTES = 32 * 1024 * 1024;
export const MOST_ROWS = 100_000;
/** Broken rules that are kept; of more only the number. */
export const MOST_KEPT = 5_000;
/** Small enough that people's own calls pass between two batches. */
const BATCH = 200;

export interface Fault {
  line: number;
  id: string;
  field: string;
  reason: string;
  description: string;
}

export interface Report {
  rows: number;
  accepted: number;
  created: number;
  changed: number;
  unchanged: number;
  /** Rows that were not taken. */
  rejected: number;
  faults: Fault[];
  /** Odd, but taken. */
  warnings: Fault[];
  /** Broken rules and warnings beyond those kept. */
  leftOff: number;
}

/** Why a file is not read at all. */
export class FileError extends Error {
  constructor(
    readonly reason:
      | "TOO_LARGE" | "TOO_MANY_ROWS" | "NOT_TEXT" | "NOT_WORKBOOK" | "FAR_CELL" | "EMPTY" | "COLUMN_UNKNOWN" | "COLUMN_TWICE" | "QUOTES",
    readonly what: string = "",
  ) {
    super(`${reason} ${what}`);
  }
}

interface Row {
  line: number;
  camera: Camera;
  faults: Fault[];
}

/** UTF-8, or what spreadsheets in China write where they are not asked for UTF-8. */
export function textOf(bytes: ArrayBuffer): string {
  for (const encoding of ["utf-8", "gb18030"]) {
    try {
      return new TextDecoder(encoding, { fatal: true }).decode(bytes);
    } catch {
      // The next may fit.
    }
  }
  throw new FileError("NOT_TEXT");
}

/** What a file holds, to be gone through as often as one wants. */
export type Table = () => Iterable<Line>;

/** A CSV file, or an Excel workbook by its first sheet that is not hidden. Throws FileError. */
export async function tableOf(file: File, signal: AbortSignal): Promise<Table> {
  if (file.size > MOST_BYTES) throw new FileError("TOO_LARGE");
  const bytes = await file.arrayBuffer();
  if (isWorkbook(bytes)) {
    const rows = await readWorkbook(bytes, signal);
    return () => rows;
  }
  const text = textOf(bytes);
  return () => rowsOf(text);
}

/** Workbooks are zip files, and nothing that people call CSV begins so. */
function isWorkbook(bytes: ArrayBuffer): boolean {
  const [p, k, three, four] = new Uint8Array(bytes.slice(0, 4));
  return p === 0x50 && k === 0x4b && three === 3 && four === 4;
}

async function readWorkbook(bytes: ArrayBuffer, signal: AbortSignal): Promise<Line[]> {
  const worker = new Worker(new URL("./workbook.worker.ts", import.meta.url), { type: "module" });
  try {
    return await new Promise((resolve, reject) => {
      worker.onmessage = ({ data }: MessageEvent<{ rows?: Line[]; reason: Trouble; what: string }>) =>
        data.rows ? resolve(data.rows) : reject(new FileError(data.reason, data.what));
      // Out of memory, for one.
      worker.onerror = (event) => reject(new FileError("NOT_WORKBOOK", event.message));
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      worker.postMessage(bytes, [bytes]);
    });
  } finally {
    worker.terminate();
  }
}

/** Every row as a camera with what is wrong in it already. Throws FileError for what holds for the whole file. */
export function* camerasOf(table: Table): Generator<Row> {
  try {
    const rows = table()[Symbol.iterator]();
    const header = ((rows.next().value as Line | undefined)?.cells ?? []).map((name) => name.trim());
    // A spreadsheet may have had more columns once.
    while (header.length && !header.at(-1)) header.pop();
    if (!header.length) throw new FileError("EMPTY");
    header.forEach((name: string, index: number) => {
      if (!fieldOf(name)) throw new FileError("COLUMN_UNKNOWN", name);
      if (header.indexOf(name) !== index) throw new FileError("COLUMN_TWICE", name);
    });
    for (let next = rows.next(); !next.done; next = rows.next()) yield rowOf(header, next.value);
  } catch (cause) {
    if (cause instanceof CsvError) throw new FileError("QUOTES", String(cause.line));
    throw cause;
  }
}

function rowOf(header: string[], { line, cells, rounded = [] }: Line): Row {
  const texts: Texts = {};
  header.forEach((name, index) => {
    const text = cells[index]?.trim();
    if (text && !rounded.includes(index)) texts[name] = text;
  });
  const { camera, misfits } = cameraOf(texts);
  const fault = (field: string, reason: string): Fault => ({ line, id: camera.id, field, reason, description: texts[field] ?? "" });
  const faults = Object.entries(misfits).map(([field, misfit]: [string, Misfit]) => fault(field, misfit));
  for (const column of rounded) faults.push({ ...fault(header[column] ?? "", "XLSX_NUMBER_ROUNDED"), description: cells[column]! });
  const beyond = cells.slice(header.length).some((cell) => cell.trim());
  if (cells.length < header.length || beyond) faults.unshift(fault("", "CSV_CELLS"));
  return { line, camera, faults };
}

/** Registers, or with `isDryRun` only judges, what the file holds. `tell`: the report so far, and rows in all. */
export async function register(
  table: Table,
  isDryRun: boolean,
  signal: AbortSignal,
  tell: (report: Report, of: number) => void,
): Promise<Report> {
  // Once through for what would spoil the whole of it, before a single row is sent.
  let of = 0;
  for (const _ of camerasOf(table)) if ((of += 1) > MOST_ROWS) throw new FileError("TOO_MANY_ROWS");
  const report: Report = {
    rows: 0, accepted: 0, created: 0, changed: 0, unchanged: 0, rejected: 0, faults: [], warnings: [], leftOff: 0,
  };
  let batch: Row[] = [];
  for (const row of camerasOf(table)) {
    report.rows += 1;
    if (row.faults.length) {
      report.rejected += 1;
      keep(report, report.faults, row.faults);
    } else batch.push(row);
    if (batch.length < BATCH) continue;
    await send(batch, isDryRun, signal, report);
    batch = [];
    tell(report, of);
  }
  if (batch.length) await send(batch, isDryRun, signal, report);
  report.faults.sort((one, other) => one.line - other.line);
  tell(report, of);
  return report;
}

async function send(batch: Row[], isDryRun: boolean, signal: AbortSignal, report: Report): Promise<void> {
  const question = { cameras: batch.map((row) => row.camera), dryRun: isDryRun };
  const answer = await call(() => cameras.batchRegisterCameras(question, { signal }));
  for (const { index, id, violations } of answer.rejected) keep(report, report.faults, told(batch[index]!, id, violations));
  for (const { index, warnings } of answer.warned) keep(report, report.warnings, told(batch[index]!, answer.ids[index] ?? "", warnings));
  report.rejected += answer.rejected.length;
  report.accepted += batch.length - answer.rejected.length;
  report.created += answer.created;
  report.changed += answer.changed;
  report.unchanged += answer.unchanged;
}

function told(row: Row, id: string, words: { field: string; reason: string; description: string }[]): Fault[] {
  return words.map(({ field, reason, description }) => ({
    line: row.line,
    id: id || row.camera.id,
    field: pathOf(field, row.camera),
    reason,
    description,
  }));
}

function keep(report: Report, list: Fault[], faults: Fault[]): void {
  const room = Math.max(0, MOST_KEPT - list.length);
  list.push(...faults.slice(0, room));
  report.leftOff += Math.max(0, faults.length - room);
}

/** A file to fill in: the header, and one row that shows how. */
export function template(regionCode: string, industry: string): string[][] {
  const example: Texts = {
    name: "东门1号",
    region_code: regionCode || "360602",
    industry: industry || "11",
    place_category: "school",
    "location.latitude": "28.2386",
    "location.longitude": "117.0339",
    "location.address": "鹰潭市月湖区…",
    "main.url": "rtsp://192.0.2.10:554/main",
    "main.username": "admin",
    "main.transport": "tcp",
    "sub.url": "rtsp://192.0.2.10:554/sub",
    "sub.username": "admin",
    "legal.place_basis": "《公共安全视频图像信息系统管理条例》第七条",
    "legal.purpose": "校园安全",
    "legal.scope": "东门外人行道",
    "legal.retention_days": "30",
    "legal.signage_text": "本区域有公共安全视频采集",
    "legal.signage_date": "2026-01-31",
  };
  return [FIELDS.map(({ path }) => path), FIELDS.map(({ path }) => example[path] ?? "")];
}
