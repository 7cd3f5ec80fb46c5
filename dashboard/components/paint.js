// Paints a map over the grey photograph: hue is the sign, opacity the magnitude, zero is transparent.

function paintMap(view, { canvas, frame, values, spec }) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.round(frame.clientWidth * ratio);
  const height = Math.round(frame.clientHeight * ratio);
  if (!width || !height) return;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.drawImage(view.image, 0, 0, width, height);
  const scratch = (view.scratch ??= document.createElement("canvas"));
  if (scratch.width !== width || scratch.height !== height) Object.assign(scratch, { width, height });
  const layer = scratch.getContext("2d");
  const pixels = layer.createImageData(width, height);
  colour(view, pixels, values, spec().limit);
  layer.putImageData(pixels, 0, 0);
  context.globalAlpha = view.data.opacity ?? 1;
  context.drawImage(scratch, 0, 0);
  context.globalAlpha = 1;
}

// Bilinear in the values, as F.interpolate(..., mode="bilinear") does, then hue for the sign and opacity for the magnitude.
// A map with a limit of its own has a signed scale of its own, to which the threshold says nothing.
function colour(view, pixels, values, limit) {
  const { width, height } = pixels;
  const [rows, columns] = view.data.grid;
  const [low, gain] = limit === null ? normalisation(view, values) : [0, 1 / limit];
  const floor = limit === null ? (view.threshold ?? -Infinity) : -Infinity;
  const hues = ["positive", "negative"].map((name) => view.data.colours[name].split(",").map(Number));
  const across = weights(width, columns);
  const down = weights(height, rows);
  let at = 0;
  for (let y = 0; y < height; y++) {
    const [top, bottom, v] = down[y];
    for (let x = 0; x < width; x++, at += 4) {
      const [left, right, u] = across[x];
      const upper = values[top * columns + left] * (1 - u) + values[top * columns + right] * u;
      const lower = values[bottom * columns + left] * (1 - u) + values[bottom * columns + right] * u;
      const raw = upper * (1 - v) + lower * v;
      if (raw < floor) continue;
      const value = (raw - low) * gain;
      const hue = value < 0 ? hues[1] : hues[0];
      pixels.data[at] = hue[0];
      pixels.data[at + 1] = hue[1];
      pixels.data[at + 2] = hue[2];
      pixels.data[at + 3] = 255 * OPACITY * Math.min(1, Math.abs(value));
    }
  }
}

function normalisation(view, values) {
  if (view.data.scale !== "minmax") return [0, 1 / view.data.limit];
  const low = Math.max(Math.min(...values), view.threshold ?? -Infinity);
  const high = Math.max(...values);
  return [low, high > low ? 1 / (high - low) : 0];
}

// For every pixel: the two nearest patches and the weight of the second.
function weights(length, cells) {
  return Array.from({ length }, (_, i) => {
    const position = Math.min(cells - 1, Math.max(0, ((i + 0.5) * cells) / length - 0.5));
    const first = Math.floor(position);
    return [first, Math.min(cells - 1, first + 1), position - first];
  });
}
