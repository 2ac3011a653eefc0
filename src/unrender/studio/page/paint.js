// A mask painted over the picture, as bytes of a pixel each and as a PNG.

import { drag } from "/page/compare.js";

export function paint(canvas, frame, size) {
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  let mode = null;
  let last = null;

  const stroke = (event) => {
    const box = frame.getBoundingClientRect();
    const scale = canvas.width / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    pen.globalCompositeOperation = mode === "erase" ? "destination-out" : "source-over";
    pen.strokeStyle = "#ff7a1a";
    pen.lineCap = pen.lineJoin = "round";
    pen.lineWidth = Number(size.value) * scale;
    pen.beginPath();
    pen.moveTo(last?.x ?? x, last?.y ?? y);
    pen.lineTo(x, y + 0.01);
    pen.stroke();
    last = { x, y };
  };
  drag(frame, stroke, () => { last = null; }, (event) => mode !== null && event.target.id !== "divider");

  return {
    open(width, height) { canvas.width = width; canvas.height = height; },
    mode(wanted) { mode = wanted; canvas.hidden = wanted === null; },
    clear() { pen.clearRect(0, 0, canvas.width, canvas.height); },
    // One byte a pixel, or null where nothing is painted.
    bytes() {
      const rgba = pen.getImageData(0, 0, canvas.width, canvas.height).data;
      const mask = new Uint8Array(rgba.length / 4);
      let some = false;
      for (let i = 0; i < mask.length; i++) some = (mask[i] = rgba[4 * i + 3]) > 0 || some;
      return some ? mask : null;
    },
    async png(mask) {
      const out = new OffscreenCanvas(canvas.width, canvas.height), to = out.getContext("2d");
      const image = to.createImageData(canvas.width, canvas.height);
      mask.forEach((value, i) => { image.data.set([value, value, value, 255], 4 * i); });
      to.putImageData(image, 0, 0);
      return out.convertToBlob({ type: "image/png" });
    },
  };
}
