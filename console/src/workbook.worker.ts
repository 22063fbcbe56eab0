// Reads one workbook, answers with its rows or with why it has none.
import { tableOf, WorkbookError } from "./workbook";

addEventListener("message", async ({ data }: MessageEvent<ArrayBuffer>) => {
  try {
    postMessage({ rows: await tableOf(data) });
  } catch (cause) {
    const { reason, what } = cause instanceof WorkbookError ? cause : new WorkbookError("NOT_WORKBOOK", String(cause));
    postMessage({ reason, what });
  }
});
