// What is carried by drag and drop within the console.
export const CAMERA = "text/x-vidhub-camera";
export const TILE = "text/x-vidhub-tile";

/** The camera's id, or the place of a picture that is moved. */
export function carried(event: DragEvent): { camera?: string; tile?: number } {
  const camera = event.dataTransfer?.getData(CAMERA);
  const tile = event.dataTransfer?.getData(TILE);
  return { ...(camera && { camera }), ...(tile && { tile: Number(tile) }) };
}
