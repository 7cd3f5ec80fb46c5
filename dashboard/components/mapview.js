// A grid of similarity maps over one photograph. The server sends patch grids; this file upscales, colours and links them:
// hovering a patch shows its value in every map, a click reports it. All text is set through textContent.

const OPACITY = 0.92;
const LEAST_CELL_PX = 82;
const GAP_PX = 8;
const HOVERED = "clip-theatre-hovered"; // tells other views of the same link, whose grids may differ, where the pointer is

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".view");
  const view = (root.view ??= new MapView(root));
  view.send = (event) => setTriggerValue("event", event);
  view.show(data);
}

const signed = (x) => (x < 0 ? "−" : "+") + Math.abs(x).toFixed(3);

class MapView {
  constructor(root) {
    this.root = root;
    this.hovered = null;
    this.dragged = null;
    followPatch(root, (patch, own) => own || this.hover(patch, false), () => this.data?.grid);
    new ResizeObserver(() => {
      this.arrange();
      this.paint();
    }).observe(root);
    const follow = ({ detail }) => {
      if (!root.isConnected) document.removeEventListener(HOVERED, follow);
      else if (detail.from !== this && detail.link && detail.link === this.data?.link) this.mirror(detail.place);
    };
    document.addEventListener(HOVERED, follow);
  }

  async show(data) {
    this.data = data;
    const signature = JSON.stringify([data.draw, data.rows.map((row) => [row.title, row.chooses, row.cells.map((c) => [c.title, c.error])]), data.grid, data.photo.width, data.photo.height, !data.aside, data.histogram, data.colour_bar]);
    if (signature !== this.signature) {
      this.signature = signature;
      this.build();
    }
    this.cells.forEach((cell) => {
      cell.values = floats(cell.spec().values);
      const { values } = cell;
      const mean = values.length ? values.reduce((a, b) => a + b, 0) / values.length : NaN;
      Object.assign(cell.frame.dataset, { min: Math.min(...values), max: Math.max(...values), mean });
      cell.vectors.replaceChildren(...this.outlines(), ...this.points(cell.spec().points));
      cell.figure.classList.toggle("chosen", cell.spec().chosen);
      if (cell.chooses) cell.frame.setAttribute("aria-pressed", String(cell.spec().chosen));
    });
    this.photoVectors?.replaceChildren(...this.outlines());
    this.fill();
    this.mark();
    await this.load();
    this.paint();
  }

  async load() {
    if (this.data.photo.grey === this.source) return;
    this.source = this.data.photo.grey;
    const image = new Image();
    image.src = this.source;
    await image.decode();
    this.image = image;
  }

  build() {
    const { data } = this;
    this.cells = [];
    const rows = data.rows.map((row, r) => {
      const cells = row.cells.map((spec, c) => this.cell(r, c, spec));
      const name = row.title ? [element("div", { className: "name" }, row.title)] : [];
      const grid = element("div", { className: "cells" }, ...cells);
      return element("section", { className: row.chooses ? "row choices" : "row" }, ...name, grid);
    });
    this.pen = data.draw ? new Pen(this, this.cells[0]) : null;
    this.pen && rows[0].append(this.pen.bar);
    this.grids = rows.map((row) => row.querySelector(".cells"));
    const main = element("div", { className: "main" }, ...rows);
    const aside = data.aside ? this.aside() : null;
    (aside ?? main).append(this.foot());
    this.root.classList.toggle("small", !aside);
    this.root.classList.toggle("wide", data.wide);
    if (!aside) (this.pen?.bar ?? main).prepend((this.place = element("div", { className: "place" })));
    this.root.replaceChildren(...(aside ? [aside] : []), main);
    this.root.style.setProperty("--region", data.colours.region);
    this.arrange();
  }

  // As many columns as maps of a row; where there is no room for them, several lines of about the same length.
  arrange() {
    let wrapped = false;
    for (const grid of this.grids ?? []) {
      const count = grid.children.length;
      const room = Math.max(1, Math.floor((grid.clientWidth + GAP_PX) / (LEAST_CELL_PX + GAP_PX)));
      const lines = Math.max(1, Math.ceil(count / room));
      grid.style.setProperty("--columns", Math.ceil(count / lines));
      wrapped ||= lines > 1;
    }
    this.root.classList.toggle("wrapped", wrapped);
  }

  aside() {
    const photo = element("img", { alt: "the image", src: this.data.photo.colour });
    const frame = this.frame(photo);
    this.photoVectors = frame.vectors;
    this.photoFrame = frame;
    this.photo = photo;
    this.bars = element("div", { className: "bars" });
    this.place = element("span", { className: "place" });
    return element("div", { className: "aside" }, element("h4", {}, "Image", this.place), frame.node, this.bars);
  }

  frame(content) {
    const { width, height } = this.data.photo;
    const vectors = vector("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" });
    const patch = element("div", { className: "marker patch" });
    const hover = element("div", { className: "marker hover" });
    const node = element("div", { className: "frame" }, content, vectors, patch, hover);
    node.style.aspectRatio = `${width} / ${height}`;
    node.onpointermove = (event) => this.hover(this.locate(event, node));
    node.onpointerleave = () => this.hover(null);
    node.onclick = (event) => this.pick(this.locate(event, node));
    return { node, vectors, patch, hover };
  }

  cell(r, c, spec) {
    const canvas = element("canvas");
    const frame = this.frame(canvas);
    const note = element("div", { className: "note" });
    const head = element("div", { className: this.repeats(r) ? "title repeated" : "title", title: spec.hint }, spec.title);
    if (spec.action) frame.node.append(this.action(r, c, spec));
    const chooses = this.data.rows[r].chooses;
    const figure = element("figure", { className: "cell" }, head, frame.node, note);
    const cell = { ...frame, frame: frame.node, figure, canvas, note, chooses, spec: () => this.data.rows[r].cells[c] };
    if (spec.error) frame.node.append(element("div", { className: "problem" }, spec.error));
    else {
      const choose = () => this.send({ type: "action", row: r, column: c });
      if (chooses) frame.node.onclick = choose;
      Object.assign(frame.node, { tabIndex: 0, onkeydown: (event) => this.key(event, chooses ? choose : null) });
      frame.node.setAttribute("role", chooses ? "button" : "img");
      const how = chooses ? "Enter puts it in the row above." : "Arrow keys move over the patches, Enter chooses one.";
      frame.node.setAttribute("aria-label", `Map: ${spec.title}, ${this.data.rows[r].title}. ${how}`);
      Object.assign(frame.node.dataset, { testid: "map", title: spec.title, row: this.data.rows[r].title });
      this.cells.push(cell);
    }
    return figure;
  }

  // Whether this row has the same columns as the first one, so that their titles need not be said again.
  repeats(r) {
    const titles = (row) => row.cells.map((cell) => cell.title).join("\n");
    return r > 0 && titles(this.data.rows[r]) === titles(this.data.rows[0]);
  }

  action(r, c, spec) {
    const label = `${spec.action}: ${spec.title} ${this.data.rows[r].title}`;
    const button = element("button", { type: "button", className: "action", title: label }, spec.action);
    button.setAttribute("aria-label", label);
    button.onclick = (event) => {
      event.stopPropagation();
      this.send({ type: "action", row: r, column: c });
    };
    return button;
  }

  foot() {
    this.strip = element("div", { className: "strip" });
    this.ticks = element("div", { className: "ticks" });
    this.unit = element("h4");
    const bar = this.data.colour_bar ? [this.unit, this.strip, this.ticks] : [];
    this.histogram = this.data.histogram ? new Histogram(this) : null;
    return element("div", { className: "foot" }, ...bar, ...(this.histogram?.nodes ?? []));
  }

  get threshold() {
    return this.dragged ?? this.data.threshold;
  }

  drag(value) {
    this.dragged = value;
    this.paint();
  }

  release(value) {
    this.dragged = null;
    this.data.threshold = value;
    this.paint();
    this.send({ type: "threshold", value });
  }

  locate(event, node) {
    const box = node.getBoundingClientRect();
    const [rows, columns] = this.data.grid;
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
    const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
    return [Math.min(rows - 1, Math.max(0, row)), Math.min(columns - 1, Math.max(0, column))];
  }

  pick(patch) {
    this.data.patch = patch;
    this.mark();
    this.send({ type: "patch", row: patch[0], column: patch[1] });
  }

  key(event, choose) {
    const [rows, columns] = this.data.grid;
    if (this.pen?.key(event)) return;
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const from = this.hovered ?? this.data.patch ?? [rows >> 1, columns >> 1];
    if (move) this.hover([Math.min(rows - 1, Math.max(0, from[0] + move[0])), Math.min(columns - 1, Math.max(0, from[1] + move[1]))]);
    else if (event.key === "Enter") choose ? choose() : this.pick(from);
    else if (event.key === "Escape") this.hover(null);
    else return;
    event.preventDefault();
  }

  hover(patch, tell = true) {
    if (String(patch) === String(this.hovered)) return;
    this.hovered = patch;
    if (tell) tellPatch(this.root, patch, this.data.grid);
    this.mark();
    const [rows, columns] = this.data.grid;
    const place = patch && [(patch[0] + 0.5) / rows, (patch[1] + 0.5) / columns];
    if (this.data.link) document.dispatchEvent(new CustomEvent(HOVERED, { detail: { from: this, link: this.data.link, place } }));
  }

  mirror(place) {
    this.hovered = place && place.map((share, axis) => Math.floor(share * this.data.grid[axis]));
    this.mark();
  }

  mark() {
    const [rows, columns] = this.data.grid;
    const place = (marker, patch) => {
      marker.style.display = patch ? "block" : "none";
      if (!patch) return;
      Object.assign(marker.style, { left: `${(100 * patch[1]) / columns}%`, top: `${(100 * patch[0]) / rows}%`, width: `${100 / columns}%`, height: `${100 / rows}%` });
    };
    for (const frame of [...this.cells, ...(this.data.aside ? [this.photoFrame] : [])]) {
      place(frame.patch, this.data.patch);
      place(frame.hover, this.hovered);
    }
    const at = this.hovered;
    for (const cell of this.cells) {
      const [first, ...rest] = cell.spec().note.split("\n");
      cell.note.textContent = [at ? signed(cell.values[at[0] * columns + at[1]]) : first, ...rest].join("\n");
    }
    this.place.textContent = at ? ` row ${at[0]}, column ${at[1]}` : "";
  }

  outlines() {
    if (!this.data.outline) return [];
    return ["halo", "line"].map((name) => vector("path", { class: `outline ${name}`, d: this.data.outline }));
  }

  points(points) {
    const { width, height } = this.data.photo;
    const { positive, negative } = this.data.colours;
    return points.map(([x, y, label]) => vector("ellipse", { class: "point", cx: x, cy: y, rx: width / 64, ry: width / 64, fill: `rgb(${label ? positive : negative})` }));
  }

  fill() {
    const { data } = this;
    const [low, high] = { signed: [-data.limit, data.limit], positive: [0, data.limit], minmax: [0, 1] }[data.scale];
    const { positive, negative } = data.colours;
    const left = data.scale === "signed" ? `rgba(${negative},${OPACITY}), ` : "";
    this.strip.style.background = `linear-gradient(90deg, ${left}rgba(128,128,128,0), rgba(${positive},${OPACITY})), #8b8b8b`;
    this.ticks.replaceChildren(...[0, 0.5, 1].map((t) => element("span", {}, number(low + t * (high - low)))));
    this.unit.textContent = data.unit;
    if (!data.aside) return;
    this.photo.src = data.photo.colour;
    this.bars.replaceChildren(element("h4", {}, data.aside.title), ...data.aside.bars.map((bar) => this.bar(bar)));
  }

  bar({ label, value, text }) {
    const fill = element("div", { className: "fill" });
    fill.style.width = `${100 * value}%`;
    const line = element("div", { className: "text" }, element("span", {}, label), element("span", {}, text));
    return element("div", { className: "bar" }, line, element("div", { className: "track" }, fill));
  }

  paint() {
    if (!this.image) return;
    for (const cell of this.cells) this.paintMap(cell);
    this.histogram?.paint();
  }

  paintMap({ canvas, frame, values }) {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(frame.clientWidth * ratio);
    const height = Math.round(frame.clientHeight * ratio);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.drawImage(this.image, 0, 0, width, height);
    const scratch = (this.scratch ??= document.createElement("canvas"));
    if (scratch.width !== width || scratch.height !== height) Object.assign(scratch, { width, height });
    const layer = scratch.getContext("2d");
    const pixels = layer.createImageData(width, height);
    this.colour(pixels, values, width, height);
    layer.putImageData(pixels, 0, 0);
    context.drawImage(scratch, 0, 0);
  }

  // Bilinear in the values, as F.interpolate(..., mode="bilinear") does, then hue for the sign and opacity for the magnitude.
  colour(pixels, values, width, height) {
    const [rows, columns] = this.data.grid;
    const [low, gain] = this.normalisation(values);
    const floor = this.threshold ?? -Infinity;
    const hues = ["positive", "negative"].map((name) => this.data.colours[name].split(",").map(Number));
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

  normalisation(values) {
    if (this.data.scale !== "minmax") return [0, 1 / this.data.limit];
    const low = Math.max(Math.min(...values), this.threshold ?? -Infinity);
    const high = Math.max(...values);
    return [low, high > low ? 1 / (high - low) : 0];
  }
}

// For every pixel: the two nearest patches and the weight of the second.
function weights(length, cells) {
  return Array.from({ length }, (_, i) => {
    const position = Math.min(cells - 1, Math.max(0, ((i + 0.5) * cells) / length - 0.5));
    const first = Math.floor(position);
    return [first, Math.min(cells - 1, first + 1), position - first];
  });
}
