// Where the attention of one patch goes, a map for each kind. The server sends the weights between all patches of one block
// and head; this file draws the row of the patch under the pointer. All text is set through textContent.

const OPACITY = 0.92;
const TALLEST_PX = 250;
const DECADES = 3; // of the logarithmic ramp
const RAMPS = {
  linear: { up: (x) => x, down: (p) => p },
  root: { up: Math.sqrt, down: (p) => p * p },
  log: { up: (x) => 1 + Math.log10(Math.max(x, 1e-9)) / DECADES, down: (p) => 10 ** (DECADES * (p - 1)) },
};

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".affinity");
  const view = (root.view ??= new AffinityView(root));
  view.send = (event) => setTriggerValue("event", event);
  view.show(data);
}

const PARTNERS_SHOWN = 6;
const SIDES = ["neither", "region", "background"]; // by their number in `data.sides`

const percent = (x) => `${number(100 * x)} %`;
const place = (patch) => `row ${patch[0]}, column ${patch[1]}`;

class AffinityView {
  constructor(root) {
    this.root = root;
    this.hovered = null; // patch under the pointer on the photograph: its attention is shown
    this.reading = null; // patch under the pointer on a map: its weight is read
  }

  show(data) {
    const before = this.data;
    this.data = data;
    if (data.codes !== before?.codes) this.decode();
    if (data.peaks !== before?.peaks || data.cls !== before?.cls) [this.peaks, this.cls] = [floats(data.peaks), floats(data.cls)];
    this.sides = bytes(data.sides);
    const signature = JSON.stringify([data.kinds, data.grid, data.photo.grey]);
    if (signature !== this.signature) {
      this.signature = signature;
      this.build();
    }
    for (const frame of [this.photo, ...this.maps]) frame.vectors.replaceChildren(...this.outlines());
    this.fill();
    this.draw();
  }

  // Codes are the square roots of the weights as whole numbers, each row in units of its own largest weight.
  decode() {
    const raw = bytes(this.data.codes);
    this.codes = this.data.levels > 255 ? new Uint16Array(raw.buffer) : raw;
  }

  build() {
    const { data } = this;
    const photo = element("img", { alt: "the image", src: data.photo.colour });
    this.photo = this.frame(photo);
    this.status = element("div", { className: "note", role: "status" });
    Object.assign(this.photo.node, { tabIndex: 0, onkeydown: (event) => this.key(event) });
    Object.assign(this.photo.node.dataset, { testid: "affinity-photo" });
    this.photo.node.setAttribute("role", "application");
    this.photo.node.setAttribute("aria-label", "The image. Arrow keys move the patch whose attention is shown, Enter chooses it.");
    this.photo.node.onpointermove = (event) => this.hover(this.locate(event));
    this.photo.node.onpointerleave = () => this.hover(null);
    this.photo.node.onclick = (event) => this.pick(this.locate(event));
    this.maps = data.kinds.map((kind, index) => this.map(kind, index));
    const first = element("div", { className: "cell" }, element("div", { className: "title" }, "Image"), this.photo.node, this.status, this.legend(), this.foot());
    const frames = element("div", { className: "frames" }, first, ...this.maps.map((map) => map.cell));
    frames.style.setProperty("--columns", Math.min(5, this.maps.length + 1));
    this.root.replaceChildren(frames);
    this.root.style.setProperty("--region", data.colours.region);
  }

  frame(...content) {
    const { width, height, ratio } = this.data.photo;
    const vectors = vector("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    const query = element("div", { className: "marker query" });
    const reading = element("div", { className: "marker reading" });
    const node = element("div", { className: "frame" }, ...content, vectors, query, reading);
    node.style.aspectRatio = ratio;
    node.style.maxWidth = `${TALLEST_PX * ratio}px`;
    return { node, vectors, query, reading };
  }

  map(kind, index) {
    const [rows, columns] = this.data.grid;
    const canvas = element("canvas", { width: columns, height: rows });
    const frame = this.frame(element("img", { alt: "", src: this.data.photo.grey }), canvas);
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(columns, rows);
    const rgb = this.data.colours.positive.split(",").map(Number);
    for (let i = 0; i < rows * columns; i++) pixels.data.set(rgb, 4 * i);
    const note = element("div", { className: "note shares" });
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = kind.colour;
    const partners = element("div", { className: "partners" });
    const cell = element("div", { className: "cell" }, element("div", { className: "title", title: kind.hint }, swatch, kind.title), frame.node, note, partners);
    Object.assign(frame.node.dataset, { testid: "affinity-map", kind: kind.name });
    frame.node.setAttribute("role", "img");
    frame.node.setAttribute("aria-label", `Attention under ${kind.title}`);
    frame.node.onpointermove = (event) => this.read(this.locate(event));
    frame.node.onpointerleave = () => this.read(null);
    frame.node.onclick = (event) => this.pick(this.locate(event));
    return { ...frame, cell, note, partners, context, pixels, index, values: new Float32Array(rows * columns) };
  }

  foot() {
    this.strip = element("div", { className: "strip" });
    this.ticks = element("div", { className: "ticks" });
    const name = element("div", { className: "name" }, "share of attention, one scale for all");
    this.buttons = Object.keys(RAMPS).map((ramp) => {
      const button = element("button", { type: "button" }, ramp);
      button.onclick = () => this.choose(ramp);
      return button;
    });
    const ramps = element("div", { className: "ramps", role: "group" }, "colour", ...this.buttons);
    ramps.setAttribute("aria-label", "How the colour follows the weight");
    return element("div", { className: "foot" }, element("div", { className: "bar" }, name, this.strip, this.ticks), ramps);
  }

  fill() {
    const { ramp, top, colours } = this.data;
    const { down } = RAMPS[ramp];
    this.strip.style.background = `linear-gradient(90deg, rgba(${colours.positive},0), rgba(${colours.positive},${OPACITY})), #8b8b8b`;
    this.ticks.replaceChildren(
      ...[0, 0.5, 1].map((p) => {
        const text = percent(down(p) * top);
        const tick = element("span", {}, p === 1 ? `≥ ${text}` : p === 0 && ramp === "log" ? `≤ ${text}` : text);
        tick.style.left = `${100 * p}%`;
        return tick;
      }),
    );
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.textContent === ramp));
  }

  choose(ramp) {
    this.data.ramp = ramp;
    this.fill();
    this.draw();
    this.send({ type: "ramp", value: ramp });
  }

  locate(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const [rows, columns] = this.data.grid;
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
    const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
    return [clamp(row, rows - 1), clamp(column, columns - 1)];
  }

  // The row of the weights that belongs to a patch; where only one is sent, the maps stay at its patch.
  row(patch) {
    return this.data.single ? 0 : patch[0] * this.data.grid[1] + patch[1];
  }

  get query() {
    if (this.data.single) return this.data.patch ?? this.data.example;
    return this.hovered ?? this.data.patch ?? this.data.example;
  }

  hover(patch) {
    if (String(patch) === String(this.hovered)) return;
    const start = performance.now();
    this.hovered = patch;
    this.draw();
    this.root.dataset.frameMs = (performance.now() - start).toFixed(3);
  }

  read(patch) {
    if (String(patch) === String(this.reading)) return;
    this.reading = patch;
    this.label();
  }

  pick(patch) {
    if (!this.data.single) {
      this.data.patch = patch;
      this.draw();
    }
    this.send({ type: "patch", row: patch[0], column: patch[1] });
  }

  key(event) {
    const [rows, columns] = this.data.grid;
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const from = this.hovered ?? this.query;
    if (move) this.hover([clamp(from[0] + move[0], rows - 1), clamp(from[1] + move[1], columns - 1)]);
    else if (event.key === "Enter") this.pick(this.hovered ?? from);
    else if (event.key === "Escape") this.hover(null);
    else return;
    event.preventDefault();
  }

  draw() {
    const patch = this.query;
    for (const map of this.maps) this.paint(map, patch);
    this.root.dataset.query = String(patch);
    this.label();
  }

  paint(map, patch) {
    const { values, pixels } = map;
    const count = values.length;
    const row = map.index * (this.data.single ? 1 : count) + this.row(patch);
    const peak = this.peaks[row];
    const first = row * count;
    const { up } = RAMPS[this.data.ramp];
    const { levels, top } = this.data;
    for (let i = 0; i < count; i++) {
      const root = this.codes[first + i] / levels;
      const weight = peak * root * root;
      values[i] = weight;
      pixels.data[4 * i + 3] = 255 * OPACITY * clamp(up(weight / top), 1);
    }
    map.context.putImageData(pixels, 0, 0);
    map.ownCls = this.cls[row];
    const own = patch[0] * this.data.grid[1] + patch[1];
    map.ownRegion = this.within(values, own);
    this.list(map, own);
  }

  // What the colours of the partners mean.
  legend() {
    const { groups } = this.data;
    const entries = groups.map(({ title, colour }) => {
      const swatch = element("span", { className: "swatch" });
      swatch.style.background = colour;
      return element("div", {}, swatch, title);
    });
    return element("div", { className: "partners legend" }, element("div", { className: "label" }, "strongest partners:"), ...entries);
  }

  // The tokens that the patch attends to most, the largest weight first; a click on a patch follows it.
  list(map, own) {
    const found = [...map.values.keys()].sort((a, b) => map.values[b] - map.values[a]).slice(0, PARTNERS_SHOWN);
    const tokens = found.map((index) => ({ index, weight: map.values[index], who: this.group(index, own) }));
    if (this.data.has_cls) tokens.push({ index: -1, weight: map.ownCls, who: "cls" });
    const rest = 1 - map.values.reduce((sum, weight) => sum + weight, map.ownCls);
    if (this.data.groups.some(({ name }) => name === "registers")) tokens.push({ index: -1, weight: Math.max(0, rest), who: "registers" });
    tokens.sort((a, b) => b.weight - a.weight);
    const most = tokens[0].weight || 1;
    map.partners.replaceChildren(...tokens.slice(0, PARTNERS_SHOWN).map((token) => this.partner(token, most)));
  }

  partner({ index, weight, who }, most) {
    const columns = this.data.grid[1];
    const patch = [Math.floor(index / columns), index % columns];
    const group = this.data.groups.find(({ name }) => name === who);
    const fill = element("div", { className: "fill" });
    fill.style.width = `${(100 * weight) / most}%`;
    fill.style.background = group.colour;
    const name = element("span", { className: "who" }, index < 0 ? (who === "cls" ? "CLS" : "registers") : patch.join(", "));
    const line = element("div", { className: "partner", title: group.title }, name, element("div", { className: "track" }, fill), element("span", {}, percent(weight)));
    if (index >= 0) line.onclick = () => this.pick(patch);
    return line;
  }

  // Which of the groups of partners a patch is for the patch `own`.
  group(index, own) {
    if (index === own) return "itself";
    if (!this.sides[index]) return "neither";
    return this.sides[index] === this.sides[own] ? "own region" : "other region";
  }

  // Share of the weight on patches that stays inside the region of the query; null without a region around it.
  within(values, index) {
    const side = this.sides[index];
    if (!side) return null;
    let own = 0;
    let all = 0;
    for (let i = 0; i < values.length; i++) {
      all += values[i];
      if (this.sides[i] === side) own += values[i];
    }
    return own / all;
  }

  label() {
    const { data, query, reading } = this;
    const row = query[0] * data.grid[1] + query[1];
    for (const frame of [this.photo, ...this.maps]) {
      this.put(frame.query, query);
      this.put(frame.reading, data.single ? (this.hovered ?? reading) : reading);
    }
    const waits = "click another: at this input size the weights come from the server";
    const state = data.single ? waits : this.hovered ? "under the pointer; click to choose it" : data.patch ? "chosen" : "an example; hover the image, click to choose";
    this.status.textContent = `patch ${place(query)}\n${state}`;
    const each = percent(1 / data.tokens);
    const side = this.sides[row];
    const share = this.sides.filter((other) => other === side).length / this.sides.length;
    for (const map of this.maps) {
      const lines = [["", "weight", "by chance"], ["itself", percent(map.values[row]), each]];
      if (map.ownRegion !== null) lines.push([`own ${SIDES[side]}`, percent(map.ownRegion), percent(share)]);
      if (data.has_cls) lines.push(["CLS token", percent(map.ownCls), each]);
      if (reading) lines.push([place(reading), percent(map.values[reading[0] * data.grid[1] + reading[1]]), each]);
      map.note.replaceChildren(...lines.flat().map((text) => element("span", {}, text)));
    }
  }

  put(marker, patch) {
    marker.style.display = patch ? "block" : "none";
    if (!patch) return;
    const [rows, columns] = this.data.grid;
    Object.assign(marker.style, { left: `${(100 * patch[1]) / columns}%`, top: `${(100 * patch[0]) / rows}%`, width: `${100 / columns}%`, height: `${100 / rows}%` });
  }

  outlines() {
    if (!this.data.outline) return [];
    return ["halo", "line"].map((name) => vector("path", { class: `outline ${name}`, d: this.data.outline }));
  }
}
